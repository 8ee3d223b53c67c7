// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package scratch is the writable part of a mount: what processes make in models/,
// sessions/ and objects/. Names, owners and modes lie on the daemon's own tmpfs as
// folders and files; this package adds what a plain folder does not have: room that
// is there before it is used, sealing, quotas and ends.
//
//	Area      the root of one of the three, and its rules
//	Node      one name: a folder, or a file with a content
//	content   the bytes of one file: their size, room, users, whether they are sealed
//	session   what a session's folder has beside its files: quota, time to live
//	Handle    one open file
//
// # Life of a content
//
//	          ┌── trunc, rename over it, remove ──► lost ── last user goes ──► freed
//	Create ─► written ── final name, and nobody can write any more ──► sealing ─► Config.Sealed ─► sealed
//
// In models/ and objects/ a file is sealed when neither its name nor a folder above
// begins with a dot, no handle writes, and the kernel grants a read lease: no writable
// descriptor and no writable mapping lives anywhere then. It is immutable from there
// on, and belongs to Config.Sealed. Until then opens for reading wait. In sessions/
// nothing is sealed: readers see what is written.
//
// What is not sealed lies in a folder of its own on the tmpfs, by number; a sealed file
// at its path below the area, where whoever scans for models finds it.
//
// A content that loses its name keeps its bytes while anybody has it open or mapped,
// and its room is taken until then. Nothing is ever cut off or punched out.
//
// # Use
//
// A content is in use while a handle is open on it, and after that while the kernel
// refuses a lease: somebody maps it. Only then the area keeps a descriptor of it
// (Area.busy). A hint of the store (Config.Watch) says when to look again; where there
// are no leases the handles tell.
//
// # Room
//
// Every change of size comes here before it happens. The room is counted in the
// session's quota, which is exact, reserved in the budget, then taken from the tmpfs
// (Config.Extend): what does not fit is ErrNoSpace at once, never a SIGBUS later. A
// file that grows by large writes grows by whole huge pages, which the quota does not
// count, and is trimmed when its writers are gone; its readers read through the daemon
// until then, which knows the true size.
//
// # Ends
//
// A session that nobody has used for its TTL goes. So do temporary files (names with
// a dot) of over 1 MiB, ten minutes after their last use.
//
// # Locks
//
// content.growing, one file's growth and the end of its writers, is held while room is
// asked for: who waits there keeps nobody but this file's writers. Nothing waits for it
// under another lock. Area.mu (names, users, phases) before session.mu and name.mu.
package scratch
