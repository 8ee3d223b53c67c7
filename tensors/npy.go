// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// NPYHeaderSize is what an NPY header is padded to, so that the data behind it
// begins at a page.
const NPYHeaderSize = 4096

// NPYHeader returns the NPY 1.0 header that precedes the tensor's contiguous
// bytes, padded with spaces to NPYHeaderSize, or to a multiple of it. Block types
// are shown as rows of bytes: the innermost dimension is that of a row's bytes.
//
// The format is described in NumPy's numpy.lib.format.
func NPYHeader(t *Tensor) ([]byte, error) {
	const magic = "\x93NUMPY\x01\x00"
	dict := "{'descr': '" + t.DType.NumPy() + "', 'fortran_order': False, 'shape': " + npyShape(t) + ", }"
	size := (len(magic) + 2 + len(dict) + 1 + NPYHeaderSize - 1) / NPYHeaderSize * NPYHeaderSize
	if size-len(magic)-2 > 0xffff {
		return nil, fmt.Errorf("%d dimensions are too many for an NPY 1.0 header", len(t.Shape))
	}
	h := make([]byte, 0, size)
	h = append(h, magic...)
	h = binary.LittleEndian.AppendUint16(h, uint16(size-len(magic)-2))
	h = append(h, dict...)
	h = append(h, strings.Repeat(" ", size-len(h)-1)...)
	return append(h, '\n'), nil
}

// rows is the shape of a block type's bytes: a row of them for every row of
// elements; all in one where rows share a block.
func rows(t *Tensor) []int64 {
	elements, bytes := t.DType.Block()
	last := len(t.Shape) - 1
	if last < 0 || t.Shape[last]%elements != 0 {
		return []int64{t.NBytes}
	}
	shape := slices.Clone(t.Shape)
	n := int64(1)
	for _, x := range shape[:last] {
		n *= x
	}
	if shape[last] = shape[last] / elements * bytes; n > 0 {
		shape[last] = t.NBytes / n
	}
	return shape
}

// npyShape is the shape as a Python tuple.
func npyShape(t *Tensor) string {
	shape := t.Shape
	if t.DType.IsBlock() {
		shape = rows(t)
	}
	var b strings.Builder
	b.WriteByte('(')
	for i, x := range shape {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.FormatInt(x, 10))
	}
	if len(shape) == 1 {
		b.WriteByte(',')
	}
	b.WriteByte(')')
	return b.String()
}
