// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggmltype

import (
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// TestOf: every type of GGML's has one number, and so have its floats.
func TestOf(t *testing.T) {
	numbers := map[tensors.DType]uint32{}
	for n := range uint32(256) {
		d, ok := Of(n)
		if !ok {
			continue
		}
		if other, twice := numbers[d]; twice {
			t.Errorf("%s is %d and %d", d, other, n)
		}
		numbers[d] = n
	}
	for _, d := range tensors.DTypes() {
		if _, ok := numbers[d]; !ok && d >= tensors.Q4_0 {
			t.Errorf("%s has no number", d)
		}
	}
	for n, d := range map[uint32]tensors.DType{0: tensors.F32, 1: tensors.F16, 28: tensors.F64, 30: tensors.BF16} {
		if numbers[d] != n {
			t.Errorf("%s is %d, want %d", d, numbers[d], n)
		}
	}
	for _, n := range []uint32{4, 5, 31, 36, 43, 1 << 31} {
		if d, ok := Of(n); ok {
			t.Errorf("%d is %s, and was removed or never was", n, d)
		}
	}
}
