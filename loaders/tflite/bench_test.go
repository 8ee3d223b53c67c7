// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import (
	"bytes"
	"fmt"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("tensors=%d", n), func(b *testing.B) {
			buffers, g := few(0), graph{name: "main"}
			for i := range n {
				buffers = append(buffers, buffer{data: make([]byte, 100)})
				g.tensors = append(g.tensors, entry{name: fmt.Sprintf("model/layer_%d/conv2d/Conv2D", i), buffer: uint32(i + 1), shape: []int32{5, 1, 1, 5}})
			}
			file := write(3, buffers, g)
			r := bytes.NewReader(file)
			b.ReportAllocs()
			for b.Loop() {
				ix, err := parse(r, int64(len(file)))
				if err != nil || len(ix.Tensors) != n {
					b.Fatal(err)
				}
			}
		})
	}
}
