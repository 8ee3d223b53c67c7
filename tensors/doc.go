// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package tensors is the vocabulary that every part of modelfs shares: the
// element types, the tensor as an index lists it, the index itself, and the
// path under which a tensor's file appears in the mount.
//
// Nothing here does I/O or holds weights. Values are immutable once a loader
// has returned them and may be shared between goroutines.
//
// Offsets and sizes are bytes, strides are elements, shapes are row-major with
// the outermost dimension first, as in NumPy and safetensors.
package tensors
