// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package malformed is how loaders say that a file is not what its format asks
// for: which format, at which byte, and what is wrong there.
package malformed

import (
	"fmt"
	"strings"
)

// maxMsg bounds what a message may quote from the file, in bytes: it ends up in
// listings and extended attributes.
const maxMsg = 1000

// Error is one finding. It is about the file's content: an error of reading the
// file is another one.
type Error struct {
	Format string // as in loaders.Format
	Offset int64  // of the byte in the file where it is wrong
	Msg    string
}

// Error says it in one line.
func (e *Error) Error() string { return fmt.Sprintf("%s: at byte %d: %s", e.Format, e.Offset, e.Msg) }

// At returns an Error with a formatted message, which is cut off where it is too
// long to be read.
func At(format string, offset int64, msg string, args ...any) error {
	text := fmt.Sprintf(msg, args...)
	if len(text) > maxMsg {
		text = strings.ToValidUTF8(text[:maxMsg], "") + "…"
	}
	return &Error{Format: format, Offset: offset, Msg: text}
}
