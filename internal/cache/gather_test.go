// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bytes"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

func TestGather(t *testing.T) {
	u8, u16 := tensors.U8, tensors.U16
	for _, c := range []struct {
		name    string
		dtype   tensors.DType
		shape   []int64
		strides []int64
		src     []byte
		want    []byte
	}{
		{"fortran order", u8, []int64{2, 3}, []int64{1, 2}, []byte{1, 4, 2, 5, 3, 6}, []byte{1, 2, 3, 4, 5, 6}},
		{"row-major", u8, []int64{2, 3}, []int64{3, 1}, []byte{1, 2, 3, 4, 5, 6}, []byte{1, 2, 3, 4, 5, 6}},
		{"wide elements", u16, []int64{2, 2}, []int64{1, 2}, []byte{1, 1, 3, 3, 2, 2, 4, 4}, []byte{1, 1, 2, 2, 3, 3, 4, 4}},
		{"three dimensions", u8, []int64{2, 2, 2}, []int64{1, 2, 4}, []byte{0, 4, 2, 6, 1, 5, 3, 7}, []byte{0, 1, 2, 3, 4, 5, 6, 7}},
		{"one dimension backwards in steps", u8, []int64{3}, []int64{2}, []byte{1, 9, 2, 9, 3}, []byte{1, 2, 3}},
		{"expanded", u8, []int64{2, 2}, []int64{0, 1}, []byte{1, 2}, []byte{1, 2, 1, 2}},
		{"empty", u8, []int64{0, 3}, []int64{1, 0}, nil, []byte{}},
		{"scalar", u16, nil, nil, []byte{7, 8}, []byte{7, 8}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := make([]byte, len(c.want))
			gather(got, c.src, &tensors.Tensor{DType: c.dtype, Shape: c.shape, Strides: c.strides, NBytes: int64(len(c.want))})
			if !bytes.Equal(got, c.want) {
				t.Errorf("gathered %v, want %v", got, c.want)
			}
		})
	}
}
