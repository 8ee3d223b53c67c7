// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"bytes"
	"fmt"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			var members []stored
			for i := range n {
				members = append(members, array(fmt.Sprintf("a%d.npy", i), 10_000))
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
