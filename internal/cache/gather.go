// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import "github.com/modelfs/modelfs/tensors"

// gather copies a tensor that is stored with strides into row-major order. src
// begins at the tensor's first element; dst holds t.NBytes bytes. The loader
// has checked that every element lies within src.
func gather(dst, src []byte, t *tensors.Tensor) {
	_, width := t.DType.Block()
	if len(t.Shape) == 0 || t.NBytes == 0 {
		copy(dst, src[:t.NBytes])
		return
	}
	at := make([]int64, len(t.Shape))
	last := len(t.Shape) - 1
	for out := int64(0); out < t.NBytes; {
		from := int64(0)
		for i, x := range at[:last] {
			from += x * t.Strides[i]
		}
		for x := int64(0); x < t.Shape[last]; x++ {
			o := (from + x*t.Strides[last]) * width
			copy(dst[out:out+width], src[o:o+width])
			out += width
		}
		for i := last - 1; i >= 0; i-- {
			if at[i]++; at[i] < t.Shape[i] {
				break
			}
			at[i] = 0
		}
	}
}
