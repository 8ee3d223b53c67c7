// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// many is a file of n tensors, named and shaped as a language model's, without its
// data.
func many(n int) (file []byte, size int64) {
	var h strings.Builder
	h.WriteString(`{"__metadata__":{"format":"pt"}`)
	at := 0
	for i := range n {
		fmt.Fprintf(&h, `,"model.layers.%d.mlp.experts.%d.down_proj.weight":{"dtype":"BF16","shape":[4096,14336],"data_offsets":[%d,%d]}`,
			i/64, i%64, at, at+4096*14336*2)
		at += 4096 * 14336 * 2
	}
	h.WriteByte('}')
	file = framed(h.String())
	return file, int64(len(file) + at)
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("tensors=%d", n), func(b *testing.B) {
			file, size := many(n)
			r := bytes.NewReader(file)
			b.ReportAllocs()
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				ix, err := parse(r, size)
				if err != nil || len(ix.Tensors) != n {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(file))/1e6, "MB/header")
		})
	}
}
