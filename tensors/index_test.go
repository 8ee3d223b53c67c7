// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"slices"
	"testing"
)

func TestStrides(t *testing.T) {
	for _, c := range []struct {
		name       string
		tensor     Tensor
		strides    []int64 // as shown; nil is null
		contiguous bool
	}{
		{"scalar", Tensor{DType: F32}, []int64{}, true},
		{"scalar with strides", Tensor{DType: F32, Strides: []int64{}}, []int64{}, true},
		{"vector", Tensor{DType: F32, Shape: []int64{5}}, []int64{1}, true},
		{"row-major", Tensor{DType: F32, Shape: []int64{512, 80, 3}}, []int64{240, 3, 1}, true},
		{"row-major, spelt out", Tensor{DType: F32, Shape: []int64{2, 3}, Strides: []int64{3, 1}}, []int64{3, 1}, true},
		{"transposed", Tensor{DType: F32, Shape: []int64{2, 3}, Strides: []int64{1, 2}}, []int64{1, 2}, false},
		{"expanded", Tensor{DType: F32, Shape: []int64{2, 3}, Strides: []int64{0, 1}}, []int64{0, 1}, false},
		{"every second", Tensor{DType: F32, Shape: []int64{4}, Strides: []int64{2}}, []int64{2}, false},
		{"rows with gaps", Tensor{DType: F32, Shape: []int64{2, 3}, Strides: []int64{4, 1}}, []int64{4, 1}, false},
		{"the stride of a single one is free", Tensor{DType: F32, Shape: []int64{1, 3, 1}, Strides: []int64{99, 1, 7}}, []int64{99, 1, 7}, true},
		{"a single one in the middle", Tensor{DType: F32, Shape: []int64{2, 1, 3}, Strides: []int64{3, 0, 1}}, []int64{3, 0, 1}, true},
		{"empty", Tensor{DType: F32, Shape: []int64{2, 0, 3}}, []int64{3, 3, 1}, true},
		{"empty, with any strides", Tensor{DType: F32, Shape: []int64{2, 0, 3}, Strides: []int64{9, 9, 9}}, []int64{9, 9, 9}, true},
		{"block", Tensor{DType: Q4_K, Shape: []int64{2, 256}}, nil, true},
		{"below a byte", Tensor{DType: F4, Shape: []int64{2, 2}}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.tensor.StridesOrDefault()
			if !slices.Equal(got, c.strides) || (got == nil) != (c.strides == nil) {
				t.Errorf("strides %v, want %v", got, c.strides)
			}
			if got := c.tensor.Contiguous(); got != c.contiguous {
				t.Errorf("contiguous is %v", got)
			}
		})
	}
}
