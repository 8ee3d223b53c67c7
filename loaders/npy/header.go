// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

import (
	"fmt"
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

// headerSize is what is read at once: most headers have 128 bytes.
const headerSize = 512

// Parse reads the header of a file of size bytes. The tensor is named after the
// file.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	tensor := path.Base(name)
	tensor = strings.TrimSuffix(tensor, path.Ext(tensor))
	h, err := Read(r, 0, size)
	if err != nil {
		return nil, err
	}
	t := h.Tensor(tensor)
	t.File = name
	ix := &tensors.Index{Tensors: []tensors.Tensor{t}}
	if end := h.Data + h.NBytes; end < size {
		ix.Findings = []tensors.Finding{{File: name, Offset: end, Text: fmt.Sprintf("%d bytes follow the array", size-end)}}
	}
	return ix, nil
}

// Header is what an array's header says.
type Header struct {
	DType tensors.DType
	Shape []int64
	// Columns says that the data are in column-major order, Fortran's, and that this
	// is not the same as row-major.
	Columns bool
	// Swapped says that the numbers are big-endian.
	Swapped bool
	// Data is where the data begin, and NBytes how many they are.
	Data, NBytes int64
}

// Read reads the header of an array that lies at start, in size bytes. An array that
// is sound and no tensor is an Unfit error.
func Read(r io.ReaderAt, start, size int64) (Header, error) {
	c := cursor.New(format, r, start+size)
	c.ReadAhead(headerSize)
	if err := c.Skip(uint64(start)); err != nil {
		return Header{}, err
	}
	text, err := header(c, start)
	if err != nil {
		return Header{}, err
	}
	p := literal{text: text.text, at: text.at}
	h, err := p.dict()
	if err != nil {
		return Header{}, err
	}
	h.Data = c.Pos()
	h.NBytes, err = h.DType.NBytes(h.Shape)
	if err != nil {
		return Header{}, malformed.At(format, text.at, "%v", err)
	}
	if left := start + size - h.Data; h.NBytes > left {
		return Header{}, malformed.At(format, h.Data, "%s%v needs %d bytes, %d are left", h.DType, h.Shape, h.NBytes, left)
	}
	h.Columns = h.Columns && columns(h.Shape) != nil
	return h, nil
}

// Tensor is the array where its data lie at Data in the file that Tensor.File will
// name: in place, or made from there if they are big-endian.
func (h *Header) Tensor(name string) tensors.Tensor {
	t := tensors.Tensor{Name: name, DType: h.DType, Shape: h.Shape, NBytes: h.NBytes}
	switch {
	case h.Swapped && h.NBytes > 0:
		t.Maker = maker{*h}
	case h.Columns:
		t.Offset, t.Strides = h.Data, columns(h.Shape)
	default:
		t.Offset = h.Data
	}
	return t
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
