// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package loaders reads the headers of weight files: bytes in, a list of tensors
// out. One folder a format; this package lists them.
//
// Loaders are pure: they take an io.ReaderAt and a size, read only what the list
// needs, execute nothing, and never allocate by a number that they have not
// checked against the bytes that are left. What they make grows with the bytes
// that they have read, and stays below a fixed cap above that.
//
// A file whose content is wrong gives a *FormatError, which names the byte. Every
// other error is one of reading.
package loaders
