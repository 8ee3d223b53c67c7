// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"bytes"
	"fmt"
	"testing"
)

// many is a model of n nodes with a weight each, named as PyTorch's exporter does
// it; a weight has size bytes.
func many(n, size int) []byte {
	var graph bytes.Buffer
	for i := range n {
		graph.Write(op(str(1, fmt.Sprintf("/encoder/layers.%d/Add_output_0", i)), str(1, fmt.Sprintf("encoder.layers.%d.linear.weight", i)),
			str(2, fmt.Sprintf("/encoder/layers.%d/MatMul_output_0", i)), str(3, fmt.Sprintf("/encoder/layers.%d/MatMul", i)), str(4, "MatMul"), attr("transB", num(3, 1), num(20, 2))).b)
	}
	for i := range n {
		graph.Write(initial(dims(int64(size)), typ(2), named(fmt.Sprintf("encoder.layers.%d.linear.weight", i)), raw(zeros(size))).b)
	}
	return model(bin(graph.Bytes()...)).b
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ tensors, size int }{{10_000, 1000}, {100_000, 10}} {
		b.Run(fmt.Sprintf("tensors=%d/bytes=%d", c.tensors, c.size), func(b *testing.B) {
			file := many(c.tensors, c.size)
			r := bytes.NewReader(file)
			b.ReportAllocs()
			for b.Loop() {
				ix, err := parse(r, int64(len(file)))
				if err != nil || len(ix.Tensors) != c.tensors {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFields is what the limit of fields may cost.
func BenchmarkFields(b *testing.B) {
	file := model(bin(bytes.Repeat([]byte{9 << 3, 0}, maxFields-10)...)).b
	r := bytes.NewReader(file)
	for b.Loop() {
		if _, err := parse(r, int64(len(file))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMake(b *testing.B) {
	const n = 4 << 20
	file := model(initial(dims(n), typ(10), named("a"), sub(5, bin(bytes.Repeat([]byte{0x80, 0x78}, n)...)))).b
	ix, err := parse(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, ix.Tensors[0].NBytes)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		if err := ix.Tensors[0].Maker.Make(b.Context(), bytes.NewReader(file), dst); err != nil {
			b.Fatal(err)
		}
	}
}
