// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package call is the vocabulary of inference: datatypes, tensors, and what a request
// asks for, checked. It does no I/O and owns no memory.
//
// Parse turns a request of the Open Inference Protocol into a Request, or says what is
// wrong with it. A Request borrows the message's raw bytes: it lives as long as they do.
//
// Shapes are row-major with the outermost dimension first. Elements are little-endian.
// BYTES elements have four bytes of length before each.
package call
