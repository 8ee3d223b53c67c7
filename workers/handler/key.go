// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import "sync/atomic"

// keys is a global because a key names a file to handlers, whichever part of the
// process it came from.
var keys atomic.Uint64

// NextKey is a key for a File that no other of this process has had.
func NextKey() uint64 { return keys.Add(1) }
