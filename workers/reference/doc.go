// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package reference opens what a caller names instead of sending it: files of the
// mount, and regions of system shared memory.
//
// # Whose rights
//
// A caller reaches what his own user may: a helper process with his uid, gid and groups
// opens the file, without following links, and hands over the descriptor. Helpers are
// kept for a while, one for each user, few at a time. They are this program again, see
// HelperMain and ServeHelper, with no capabilities and no way to get any. A caller whose
// user may open all that this process may (the same user, with its groups; root, if this
// is root's) needs none. A process that is not root's can open for no others.
//
// What a helper hands over is believed no more than its user: it has to be a regular
// file of the mount, opened as was asked for.
//
// What waits, waits alone. A tensor that is not loaded is opened with O_NONBLOCK, again
// and again with growing pauses, until it is there, the limit is reached or the caller
// goes away. To look a name up may wait as well, for the header of a weight file that
// nobody has read yet: it waits in a thread of the helper, or of this process, which is
// interrupted when its caller goes away. A helper answers 64 questions at a time, in any
// order, and this process opens as many for those that need no helper; who comes then
// waits for one of them. A question that is given up is the helper's until the kernel lets
// go of it. A helper that says nothing for 30 seconds after that is ended; one that waits
// for the mount says so.
//
// # Sizes
//
// The size of a file is asked of the descriptor once, when it is opened; lengths and
// offsets are checked against that, never against memory that a caller can write. Files
// of the mount do not shrink, and handlers map them. System shared memory is never
// mapped: its owner can shrink it at any time. It is read and written by pread and
// pwrite, after a look at its size, so that a write does not make it grow again; see
// Region.WriteFrom for what is left.
//
// # Who owns what
//
// What Input and Output return is its caller's until Close; its file is closed then, and
// handlers let go of mappings by themselves. Regions own their files: a name that is
// taken away while calls use it closes the file with the last of them. Names of regions
// are a user's own.
//
// # Locks
//
// Regions.mu, pool.mu, files.mu, process.mu, and a helper's answering.mu are leaves:
// nothing is opened, asked or waited for under them.
//
// # Errors
//
// They are in errors.go. No error names a key of shared memory.
package reference
