// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"bytes"
	"context"
	"fmt"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		for _, packed := range []bool{false, true} {
			b.Run(fmt.Sprintf("members=%d/deflated=%v", n, packed), func(b *testing.B) {
				var members []stored
				for i := range n {
					m := array(fmt.Sprintf("a%d.npy", i), 10_000)
					if packed {
						m = deflated(b, m.Name, m.content)
					}
					members = append(members, m)
				}
				file := archive(b, members...)
				r := bytes.NewReader(file)
				b.ReportAllocs()
				for b.Loop() {
					if ix, err := parse(r, int64(len(file))); err != nil || len(ix.Tensors) != n {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkMake inflates a matrix in either order.
func BenchmarkMake(b *testing.B) {
	data := make([]byte, 16<<20)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	for _, order := range []string{"False", "True"} {
		b.Run("fortran="+order, func(b *testing.B) {
			file := archive(b, deflated(b, "a.npy", npyOf("<f4", order, "(2048, 2048)", data)))
			ix, err := parse(bytes.NewReader(file), int64(len(file)))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			dst := make([]byte, len(data))
			for b.Loop() {
				if err := ix.Tensors[0].Maker.Make(context.Background(), bytes.NewReader(file), dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
