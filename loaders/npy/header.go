// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

import (
	"io"
	"path"
	"slices"
	"strings"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

const format = "NPY"

// Limits: NumPy refuses longer headers too unless told otherwise, and has no
// arrays of more dimensions.
const (
	maxHeader = 64 << 10
	maxDims   = 64
)

// Parse reads the header of a file of size bytes. The tensor is named after the
// file.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	tensor := path.Base(name)
	tensor = strings.TrimSuffix(tensor, path.Ext(tensor))
	t, err := Array(tensor, r, 0, size)
	if err != nil {
		return nil, err
	}
	t.File = name
	return &tensors.Index{Tensors: []tensors.Tensor{t}}, nil
}

// Array reads the header of an array that lies at start, in size bytes.
func Array(name string, r io.ReaderAt, start, size int64) (tensors.Tensor, error) {
	t := tensors.Tensor{Name: name}
	c := cursor.New(format, r, start+size)
	if err := c.Skip(uint64(start)); err != nil {
		return t, err
	}
	h, err := header(c, start)
	if err != nil {
		return t, err
	}
	p := literal{text: h.text, at: h.at}
	fortran, err := p.dict(&t)
	if err != nil {
		return t, err
	}
	t.Offset = c.Pos()
	t.NBytes, err = t.DType.NBytes(t.Shape)
	if err != nil {
		return t, malformed.At(format, h.at, "%v", err)
	}
	if left := start + size - t.Offset; t.NBytes > left {
		return t, malformed.At(format, t.Offset, "%s%v needs %d bytes, %d are left", t.DType, t.Shape, t.NBytes, left)
	}
	if fortran {
		t.Strides = columns(t.Shape)
	}
	return t, nil
}

// columns are the strides of column-major order, in elements; nil where it is the
// same as row-major.
func columns(shape []int64) []int64 {
	s := make([]int64, len(shape))
	step := int64(1)
	large := 0
	for i, n := range shape {
		s[i] = step
		step *= max(n, 1)
		if n > 1 {
			large++
		}
	}
	if large < 2 || slices.Contains(shape, 0) {
		return nil
	}
	return s
}

// head is the dict's text, and where it lies.
type head struct {
	text string
	at   int64
}

func header(c *cursor.Cursor, start int64) (head, error) {
	magic, err := c.Bytes(8, 8)
	if err != nil {
		return head{}, err
	}
	if string(magic[:6]) != "\x93NUMPY" {
		return head{}, malformed.At(format, start, "it does not begin as NPY does")
	}
	var n uint64
	switch magic[6] {
	case 1:
		b, err := c.Bytes(2, 2)
		if err != nil {
			return head{}, err
		}
		n = uint64(b[0]) | uint64(b[1])<<8
	case 2, 3:
		v, err := c.U32()
		if err != nil {
			return head{}, err
		}
		n = uint64(v)
	default:
		return head{}, malformed.At(format, start+6, "version %d.%d; 1.0 to 3.0 are read", magic[6], magic[7])
	}
	at := c.Pos()
	text, err := c.Bytes(n, maxHeader)
	return head{string(text), at}, err
}
