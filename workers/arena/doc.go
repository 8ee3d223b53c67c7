// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package arena is memory that server and handlers share: a few large files, mapped
// here, of which each request gets regions for what goes in and what comes out.
//
// A region belongs to whoever took it until Free. A file that has been all free for a
// while is given back, but for the first of the usual size. Files come from a Maker: of
// a session of the mount (huge pages, counted there), or memfds.
//
// What a client can write is never mapped here: a client that truncates it would end
// this process.
//
// # Where regions lie
//
// First fit, in the oldest file first: what is warm is used again (memory touched for
// the first time is slow), and the younger files become free. Small regions lie at
// multiples of 64 bytes, a cache line, and share pages; those of a page or more begin
// at one, and those of 2 MiB at a huge page. A size class for each would be faster to
// search, but keeps every class's most in memory.
//
// # Errors
//
// ErrNoRoom says that the arena is as large as it may be, os.ErrClosed that it was
// closed. Else what the Maker or the mapping answered.
package arena
