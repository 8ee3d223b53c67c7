// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"context"
	"io"
	"slices"
)

// Tensor is one entry of an Index: what a tensor is and where its bytes lie.
type Tensor struct {
	// Name is the tensor's own name, exactly as the weight file has it.
	Name string
	// DType is the type of an element, or of a block for GGML's block types.
	DType DType
	// Shape holds the dimensions, outermost first; empty for a scalar.
	Shape []int64
	// Strides are in elements, as many as Shape has dimensions. Nil means row-major and contiguous, which is
	// what every format but PyTorch's stores; StridesOrDefault spells it out.
	Strides []int64
	// NBytes is the size of the tensor when it is contiguous.
	NBytes int64
	// File is the file that holds the bytes, or what they are made from, relative
	// to the model's folder, with forward slashes. It is the weight file itself, but
	// for formats that keep data beside it (ONNX).
	File string
	// Offset is where the bytes begin, from the start of File; 0 with a Maker.
	Offset int64
	// Maker makes the bytes where they lie nowhere as they are: compressed, of the
	// other byte order, written as text. Strides is nil then. Nil: they lie in File.
	Maker Maker
}

// Maker makes one tensor's bytes. It is immutable and safe for concurrent use.
type Maker interface {
	// Make fills dst, Tensor.NBytes long, with the tensor's contiguous, row-major,
	// little-endian bytes, from Tensor.File. It reads all of them or fails; what it
	// needs besides dst is bounded, and it ends when ctx does.
	Make(ctx context.Context, file io.ReaderAt, dst []byte) error
}

// Index lists the tensors of one checkpoint, in the order of the weight file.
type Index struct {
	// Tensors are in file order: for a sharded checkpoint, by shard.
	Tensors []Tensor
	// Findings are what a file holds besides tensors and nobody can vouch for: a
	// pickle's call of an unknown function, data behind the end. Reading the tensors
	// is safe all the same.
	Findings []Finding
}

// Finding is one remark about a file's content.
type Finding struct {
	File   string // as Tensor.File
	Offset int64  // of the byte that it is about
	Text   string
}

// InFile says whether the bytes lie in File as they are, with Strides.
func (t *Tensor) InFile() bool { return t.File != "" && t.Maker == nil }

// Contiguous says whether the bytes at Offset are the tensor's row-major,
// contiguous form. A tensor without elements always is.
func (t *Tensor) Contiguous() bool {
	if t.Strides == nil || slices.Contains(t.Shape, 0) {
		return true
	}
	want := int64(1)
	for i := len(t.Shape) - 1; i >= 0; i-- {
		if t.Shape[i] != 1 && t.Strides[i] != want {
			return false
		}
		want *= t.Shape[i]
	}
	return true
}

// StridesOrDefault returns the strides in elements: the stored ones, or the
// row-major ones that Shape implies; a dimension of 0 counts as 1 there, as in
// NumPy and PyTorch. It is nil for block types, whose elements have no address of
// their own.
func (t *Tensor) StridesOrDefault() []int64 {
	if t.Strides != nil {
		return t.Strides
	}
	if t.DType.IsBlock() {
		return nil
	}
	s := make([]int64, len(t.Shape))
	step := int64(1)
	for i := len(t.Shape) - 1; i >= 0; i-- {
		s[i] = step
		step *= max(1, t.Shape[i])
	}
	return s
}
