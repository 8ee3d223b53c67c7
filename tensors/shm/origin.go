// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import "os"

// Origin reads an origin at any place, for what is not read straight into a
// segment: headers, and bytes that are gathered, unpacked or converted. What its
// reads bring into the page cache goes again. It is safe for concurrent use, and
// ends before the file that it was made from.
type Origin struct{ r *reader }

// OpenOrigin makes one for an open file, which stays the caller's.
func OpenOrigin(f *os.File) *Origin { return &Origin{openOrigin(f, true)} }

// ReadAt reads as io.ReaderAt does.
func (o *Origin) ReadAt(p []byte, off int64) (int, error) { return o.r.readAt(p, off) }

// Close gives the origin's own descriptors back.
func (o *Origin) Close() { o.r.close() }
