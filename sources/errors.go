// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import "errors"

var (
	// ErrSpec says that a source cannot be used, and why.
	ErrSpec = errors.New("no source of models")
	// ErrReplaced says that a file was exchanged between two looks at it.
	ErrReplaced = errors.New("file was replaced meanwhile")
	// ErrOwnMount says that a path leads into the mount of the daemon that asks.
	ErrOwnMount = errors.New("it leads into this mount itself")
	// ErrForeign says that a file is not the model's own.
	ErrForeign = errors.New("not a file of the model's own")
)
