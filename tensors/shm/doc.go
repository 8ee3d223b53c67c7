// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package shm keeps segments: files in shared memory that are written once, by
// this process, and read and mapped by others. It is the only place with mounts,
// leases and mappings.
//
// # Back ends
//
// With Config.Dir, segments lie on a tmpfs of the store's own (root): huge pages,
// never swapped, a size of its own, and a lease that tells whether anybody has a
// segment open or mapped. Without it they are memfds: no privilege needed, no
// lease; the caller's count of handles is exact there, because without
// passthrough the kernel keeps a handle until the last mapping has gone.
//
// # Life of a segment
//
//	Create ─► Builder (reserved, writable) ─Fill─► Seal ─► Segment (read-only) ─Remove─► gone
//	                     └─Discard─► gone
//
// Create reserves every byte before anything is written: no room is an error
// then, never a SIGBUS later. Before that it looks at the memory limits of the
// cgroups above and at what the machine has left: past a cgroup's limit the
// kernel kills the process instead of answering ENOMEM.
//
// Seal reopens the file read-only from a read-only clone of the mount: what is
// handed to the kernel as a backing comes from there, so that not even a mistake
// lets a writer through.
//
// Remove only ever unlinks, and only under a held lease. A hole would show zeros
// to a reader, a truncation would kill it.
//
// # Memory
//
// Builder.Bytes is valid until Seal or Discard. The tmpfs charges the pages to
// the cgroup of whoever writes them first: this process.
package shm
