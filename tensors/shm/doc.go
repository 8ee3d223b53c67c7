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
// segment open or mapped. Without it, and where the privilege to mount is
// missing, they are memfds: no lease; the caller's count of handles is exact
// there, because without passthrough the kernel keeps a handle until the last
// mapping has gone. On other systems than Linux they are temporary files, without
// leases, events and reservation. The build tag modelfs_portable takes that back
// end on Linux too, so that its tests run.
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
// lets a writer through. A memfd is sealed by the kernel.
//
// Remove only ever unlinks, and only under a held lease. A hole would show zeros
// to a reader, a truncation would kill it.
//
// # Memory
//
// Builder.Bytes is valid until Seal or Discard. The tmpfs charges the pages to
// the cgroup of whoever writes them first: this process. A Fill has buffers of
// 10 MiB at the most beside the segment. A segment keeps its memory
// until Remove; a process that maps it keeps it beyond that.
//
// # Descriptors
//
// A segment of the tmpfs has a descriptor of its own only while somebody uses it: it
// is opened by name, for a lease or to be read, and closed when nobody has the segment
// open or mapped (InUse, Rest). Its name is the store's alone, and goes under the
// segment's lock: what is opened is this segment or nothing. Memfds and adopted files
// keep theirs; they are at the most half of what the process may have open, ErrNoFiles.
//
// # Shared files
//
// Shared is a file that others write too, mapped, with the words by which processes
// agree: what tensors/stream needs of mappings, atomics and the futex. It has nothing
// to do with segments.
//
// # Locks
//
// Segment.mu, then Store.mu, then Store.reserving. None is held while an origin
// is read. Of a Fill, one goroutine has the turn to take the next read, and one to
// write; neither turn is held with another lock.
//
// # Errors
//
// ErrNoSpace and ErrNoMemory say that there is no room, ErrNoFiles that there is no
// descriptor, ErrInUse that a segment
// cannot go yet, ErrShortOrigin that an origin is not what it was. A segment,
// builder or store that was given back answers os.ErrClosed.
package shm
