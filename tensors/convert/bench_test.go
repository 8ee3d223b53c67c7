// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// weights are n elements of a type as models have them: around zero, in usual scales.
func weights(b *testing.B, d tensors.DType, n int) []byte {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	switch d {
	case tensors.F32, tensors.F16, tensors.BF16:
		wide := make([]byte, 0, 4*n)
		for range n {
			wide = le.AppendUint32(wide, bits(float32(r.NormFloat64()*0.02)))
		}
		f, _ := From(tensors.F32, d)
		_, width := d.Block()
		out := make([]byte, n*int(width))
		f(out, wide)
		return out
	}
	elements, width := d.Block()
	out := make([]byte, n/int(elements)*int(width))
	for i := range out {
		out[i] = byte(r.Uint32()) & 0x3b // no F16 of these bytes is infinite
	}
	if d == tensors.MXFP4 {
		for i := 0; i < len(out); i += int(width) {
			out[i] |= 0x40 // no subnormal results
		}
	}
	return out
}

// BenchmarkFunc counts bytes of output, of 8 MiB.
func BenchmarkFunc(b *testing.B) {
	for _, src := range Sources() {
		for _, dst := range Targets() {
			if src == dst {
				continue
			}
			b.Run(fmt.Sprintf("%s-%s", src, dst), func(b *testing.B) {
				const size = 8 << 20
				_, width := dst.Block()
				in := weights(b, src, size/int(width))
				out := make([]byte, size)
				f, _ := From(src, dst)
				b.SetBytes(size)
				for b.Loop() {
					f(out, in)
				}
			})
		}
	}
}

// BenchmarkRead has a file in memory.
func BenchmarkRead(b *testing.B) {
	for _, src := range []tensors.DType{tensors.BF16, tensors.F16, tensors.Q4_K} {
		b.Run(src.String(), func(b *testing.B) {
			const size = 64 << 20
			in := weights(b, src, size/4)
			out := make([]byte, size)
			r := bytes.NewReader(in)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if err := Read(b.Context(), out, tensors.F32, r, 0, src, int64(len(in))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
