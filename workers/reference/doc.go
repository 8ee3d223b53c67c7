// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package reference opens what a caller names instead of sending it: files of the
// mount, and regions of system shared memory.
//
// A caller reaches what his own user may: a helper process with his uid, gid and groups
// opens the file, without following links, and hands over the descriptor. Helpers are
// kept for a while, one for each user, few at a time.
//
// The size of a file is asked of the descriptor once, when it is opened; lengths and
// offsets are checked against that, never against memory that a caller can write. System
// shared memory is never mapped: its owner can shrink it at any time. It is read and
// written by pread and pwrite, after a look at its size, so that a write does not make it
// grow again.
//
// # Errors
//
// ErrUnknownCaller: by reference is for callers that are known. ErrPlace: not below
// sessions/ or tensors/, or with "..". ErrNotExist, ErrPermission as the kernel says.
// ErrBounds: the bytes are not all there. ErrOff: client shared memory is not allowed.
// ErrExists, ErrNoRegion: of names of regions. No error names a key.
package reference
