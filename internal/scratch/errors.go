// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import "errors"

var (
	// ErrExist says that a name is taken.
	ErrExist = errors.New("name exists")
	// ErrNotExist says that a name, or the file that it stood for, is gone.
	ErrNotExist = errors.New("no such name")
	// ErrNotEmpty says that a folder has something in it.
	ErrNotEmpty = errors.New("folder is not empty")
	// ErrNoSpace says that the budget, a quota or the tmpfs has no room.
	ErrNoSpace = errors.New("no room")
	// ErrWriting says that a file under its final name is being written.
	ErrWriting = errors.New("another process is writing it")
	// ErrSealed says that a file is immutable.
	ErrSealed = errors.New("sealed: immutable")
	// ErrShrink says that a size would become less.
	ErrShrink = errors.New("files here never shrink")
	// ErrPlace says that such a thing cannot be made at that place.
	ErrPlace = errors.New("cannot be made here")
	// ErrElsewhere says that a name cannot move that far, but its bytes can be copied.
	ErrElsewhere = errors.New("another session or area")
	// ErrReplaced says that the name stands for a new, empty file by now.
	ErrReplaced = errors.New("replaced by a new file")
	// ErrName says that a name or path is too long.
	ErrName = errors.New("name too long")
	// ErrUnsupported says that room cannot be taken beyond the end of a file.
	ErrUnsupported = errors.New("not supported here")
	// ErrNoFiles says that the daemon has as many files open as it may have.
	ErrNoFiles = errors.New("too many open files")
	// ErrNotReady is the answer to a non-blocking open of what is not sealed.
	ErrNotReady = errors.New("not sealed yet")
)
