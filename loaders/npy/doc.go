// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package npy reads the header of an NPY file: one array.
//
// The format is described in NumPy's numpy.lib.format: magic, version, the length
// of the header, a Python dict literal {'descr': …, 'fortran_order': …, 'shape':
// …}, the data. Versions 1.0, 2.0 and 3.0 are read. Arrays of Python objects,
// which hold pickles, structured ones, big-endian ones and those of types that no
// tensor has are refused.
package npy
