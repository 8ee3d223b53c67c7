// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package stream hands frames from one process to others through a ring of slots in
// one shared file: a file of a session in a mount, or on any tmpfs. There is one
// producer and any number of readers, who need no more than permission to read. The
// layout of the file and the protocol are in docs/streams.md: this is one
// implementation, python/modelfs/stream.py another.
//
// # Memory
//
// Writer.Next and Frame.Bytes lend a slot of the ring; both are valid until the
// Writer or the Reader is closed, whose mapping they are. The producer never waits
// for readers: it fills a slot again when it has gone round. So what a reader sees in
// a frame may be overwritten while it looks, and counts only if Frame.Valid still
// says so afterwards. Frame.Copy does both. With N slots a reader has the time of
// N-1 frames for each. Never let a pointer, an offset or a length from a frame be
// used before the frame was found valid.
//
// # States
//
//	    Create, same layout          Create, same layout
//	  ┌───────────────────┐        ┌──────────────────────┐
//	  ▼                   │        ▼                      │
//	open ── Close ──► closed     open ── killed ──► open, no lock held
//	  └── Create, another layout: a new file ──► replaced
//
// The producer has the file locked (a lock of the open file, which the kernel lets go
// however the process ends). Readers take no lock, and nobody waits for one.
//
// # Concurrency
//
// A Writer, and a Reader, is for one goroutine at a time. Frames may be looked at from
// any.
//
// # Errors
//
// Next says io.EOF when the producer has closed the stream, and ErrReplaced when
// another file is in its place: open it again. ErrOverrun is of one frame.
package stream
