// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package gguf reads the header of a GGUF file, versions 2 and 3.
//
// The format is described in ggml's docs/gguf.md; the checks are those of ggml's
// own reader (ggml/src/gguf.cpp), with tighter limits: it allows single strings
// and arrays of 1 GiB. The values of the keys are passed over, but for
// general.alignment.
//
// Dimensions are innermost first in the file and outermost first in the result.
// The tensors of GGML's block types have their blocks as bytes.
package gguf
