// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"math"
	"math/bits"
	"strconv"
)

// MaxRank is the most dimensions that a tensor may have.
const MaxRank = 16

// Elements is how many a tensor of a shape has, 1 for no dimensions. It is false for
// more than MaxRank, for a negative dimension, and for more than an int64 holds; a
// dimension of 0 does not hide that the others are too large, because who makes strides
// of them multiplies without it.
func Elements(shape []int64) (int64, bool) {
	n, empty, ok := product(shape)
	if empty {
		n = 0
	}
	return n, ok
}

// Bytes is how many a tensor of elements of one size has. It is false where Elements
// is, for more than an int64 holds, and for BYTES, whose elements have no size.
func Bytes(shape []int64, datatype Datatype) (int64, bool) {
	size := int64(datatype.Size())
	n, empty, ok := product(shape)
	if !ok || size == 0 || n > math.MaxInt64/size {
		return 0, false
	}
	if empty {
		n = 0
	}
	return n * size, true
}

// product is that of the dimensions that are not 0, and whether one is.
func product(shape []int64) (n int64, empty, ok bool) {
	if len(shape) > MaxRank {
		return 0, false, false
	}
	all := uint64(1)
	for _, n := range shape {
		if n < 0 {
			return 0, false, false
		}
		if n == 0 {
			empty = true
			continue
		}
		high, low := bits.Mul64(all, uint64(n))
		if high != 0 || low > math.MaxInt64 {
			return 0, false, false
		}
		all = low
	}
	return int64(all), empty, true
}

// appendShape writes a shape as [1,512].
func appendShape(b []byte, shape []int64) []byte {
	b = append(b, '[')
	for i, n := range shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// shapeText is a shape for people, at most MaxRank dimensions of it.
func shapeText(shape []int64) string {
	if len(shape) > MaxRank {
		b := appendShape(nil, shape[:MaxRank])
		return string(append(b[:len(b)-1], ",…]"...))
	}
	return string(appendShape(nil, shape))
}
