// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import "errors"

var (
	// ErrStale says that the origin is not the generation that was asked for.
	ErrStale = errors.New("origin has another generation")
	// ErrChanged says that the origin changed while it was being read.
	ErrChanged = errors.New("origin changed during the load")
	// ErrNotReady is the answer to a non-blocking open of what is not loaded.
	ErrNotReady = errors.New("not loaded yet")
)
