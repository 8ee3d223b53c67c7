// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package npz reads the arrays of an NPZ file: a zip archive whose members are NPY
// files.
//
// Members that are stored (numpy.savez) are used in place. Deflated ones
// (numpy.savez_compressed) lie nowhere as they are: of those only the header is
// inflated, and each is the Maker of its array, which inflates it front to back into
// the place that it is given, in row-major order, and checks length and checksum.
// Sizes are claims until then: they are refused where deflate cannot reach them, and
// nothing is allocated by them.
//
// What is no tensor (texts, dates, records, pickled objects, members of other names)
// is a finding and hides no array. An archive with nothing else is refused, as is one
// where a member's own header disagrees with the archive's directory, members lie in
// one place, or an array is there twice.
package npz
