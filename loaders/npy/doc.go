// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package npy reads the header of an NPY file: one array.
//
// The format is described in NumPy's numpy.lib.format: magic, version, the length
// of the header, a Python dict literal {'descr': …, 'fortran_order': …, 'shape':
// …}, the data. Versions 1.0, 2.0 and 3.0 are read.
//
// The data of little-endian arrays are used in place; those in Fortran's order have
// strides. The numbers of big-endian ones are turned around by a Maker. Arrays of
// Python objects, which hold pickles, structured ones and those of types that no
// tensor has are refused: as Unfit errors, so that an archive of them can go on.
package npy
