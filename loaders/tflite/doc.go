// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package tflite finds the constant tensors of a TFLite (LiteRT) model.
//
// The format is a FlatBuffer of TensorFlow's schema.fbs, version 3. A tensor names a
// buffer; those whose buffer is not empty are constants and are listed, the others
// are what the model computes. Their bytes lie in the file as they are: in the
// FlatBuffer, or behind it where the file is larger than a FlatBuffer can be.
// docs/decisions/0003-tflite.md says why the FlatBuffer is read by own code.
//
// Names are the file's. In all subgraphs but the first the subgraph's name stands
// before them, or subgraph1, subgraph2 and so on if it has none: NAME/TENSOR. Names
// are for debugging and need not be distinct: of namesakes the first keeps its name
// and the others get ~2, ~3 and so on.
//
// Findings, and no tensors, are: strings, resources and variants, types that
// modelfs does not know, 4-bit tensors that end in half a byte, sparse tensors, and
// tensors in another file (external buffers).
package tflite
