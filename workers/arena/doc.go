// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package arena is memory that server and handlers share: a few large files, mapped
// here, of which each request gets regions for what goes in and what comes out.
//
// A region belongs to whoever took it until Free. A file that has been all free for a
// while is given back, but for the first. Files come from a Maker: of a session of the
// mount (huge pages, counted there), or memfds.
//
// What a client can write is never mapped here: a client that truncates it would end
// this process.
package arena
