// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import "errors"

var (
	// ErrOverrun says that a frame was overwritten before its reader was done with it.
	ErrOverrun = errors.New("frame overrun by its producer")
	// ErrReplaced says that the file is no longer what its path names.
	ErrReplaced = errors.New("stream replaced")
	// ErrBusy says that the stream has a producer.
	ErrBusy = errors.New("stream has a producer")
	// ErrNotStream says that a file is none, or is of a version that is not known here.
	ErrNotStream = errors.New("not a stream")
	// ErrLayout says that no stream can have such frames or slots.
	ErrLayout = errors.New("invalid stream layout")
)
