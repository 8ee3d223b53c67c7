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
//	Handle    one open file
//
// # Life of a content
//
//	          ┌── trunc, rename over it, remove ──► gone ── last user goes ──► freed
//	Create ─► written ── final name, and nobody can write any more ──► sealed ─► Config.Sealed
//
// In models/ and objects/ a file is sealed when neither its name nor a folder above
// begins with a dot, no handle writes, and the kernel grants a read lease on a fresh
// descriptor: no writable descriptor and no writable mapping lives anywhere then. It
// is immutable from there on, and belongs to Config.Sealed. Until then opens for
// reading wait. In sessions/ nothing is sealed: readers see what is written.
//
// A content that loses its name keeps its bytes while anybody has it open or mapped,
// and its room is taken until then. Nothing is ever cut off or punched out.
//
// # Room
//
// Every change of size comes here before it happens. The room is reserved in the
// budget and in the session's quota, then from the tmpfs by fallocate: what does not
// fit is ErrNoSpace at once, never a SIGBUS later. A file that grows by large writes
// grows by whole huge pages and is trimmed when its writers are gone; its readers
// read through the daemon until then, which knows the true size.
//
// # Ends
//
// A session that nobody has used for its TTL goes. So do temporary files (names with
// a dot) of over 1 MiB, ten minutes after their last use. Use is a handle, or what
// the kernel's lease refuses; a hint of the store (Config.Events of shm) says when to
// look again.
//
// # Locks
//
// content.growing, one file's growth, is held while room is asked for: who waits there
// keeps nobody but this file's writers. Nothing waits for it under another lock.
// Area.mu (names) before content.mu (users of one file) before name.mu.
package scratch
