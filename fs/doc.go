// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package fs is the kernel's side of modelfs: it turns FUSE requests into calls
// of the small interfaces in api.go, and what they answer into replies. It has no
// cache, no clock and no policy.
//
//	kernel ─► bridge (one method per request)
//	            ├─ table    node ids ◄─► entries
//	            ├─ opening  handles, backings, the mode of an inode
//	            └─ notifier what the kernel is told unasked
//
// It is written directly on go-fuse's RawFileSystem (see
// docs/decisions/0002-raw-fuse.md).
//
// # Node ids and inode numbers
//
// A node's id is its inode number: a random prefix of 32 bits, one per mount,
// and the place of the node's record in the journal, which a later process can
// read (see journal.go). /proc shows inode numbers, so users of a mount are found
// by the prefix alone. One name and one generation of its content is one node;
// another generation is another node. An id is used again only after the kernel
// has forgotten it: no file, no mapping and no handle of it is left then.
//
// # Open files
//
// While an inode has handles, all of them are of one mode, since the kernel
// refuses to mix them:
//
//	passthrough  the kernel reads and maps the content's own file (a backing)
//	cached       the kernel's page cache, filled by READ
//	direct       no cache: text that is made at open
//
// The first handle decides. A backing is registered once per inode, from a fresh
// descriptor, and closed at the last release, before the content's reference is
// given back: a registered backing would keep the segment in use. A failed
// registration is counted and that inode is cached until its handles are gone.
//
// Through passthrough RELEASE comes at close, also while a mapping lives on.
// Whether somebody still maps the content is not known here.
//
// # Locks
//
//	table.mu      the ids and names; leaf
//	node.mu       the handles of one inode; held over the two backing ioctls,
//	              never over a call of a backend
//	handles.mu, notifier.mu   leaves
//
// # Deadlocks
//
// A daemon that touches its own mount waits for itself. So do notifications sent
// from inside a request: they go through the notifier's goroutine. Lookup and List
// share the folder's lock in the kernel: a backend never blocks there.
//
// # Errors
//
// See errors.go and the table in errno.go. A panic in a request is EIO, logged
// and counted; the mount lives on.
package fs
