// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package npz reads the arrays of an NPZ file that is not compressed
// (numpy.savez): a zip archive whose members are NPY files and lie in it as they
// are.
//
// A member that is compressed (numpy.savez_compressed) lies nowhere as it is and
// is refused, by name.
package npz
