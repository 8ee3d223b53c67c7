// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

// Unfit is the error of an array that may be sound and is no tensor: of Python
// objects, texts, dates, records. Nothing of it was read but its type. errors.As also
// finds the malformed.Error that it wraps.
type Unfit struct{ Err error }

// Error is the wrapped error's text.
func (u Unfit) Error() string { return u.Err.Error() }

// Unwrap returns the malformed.Error.
func (u Unfit) Unwrap() error { return u.Err }
