// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"bytes"
	"fmt"
	"testing"
)

// many is a file of n tensors, named and shaped as a language model's, without its
// data. words is how long its list of tokens is.
func many(n, words int) (file []byte, size int64) {
	w := start(uint64(n), 2)
	w.key("general.architecture", typeString).text("llama")
	w.array("tokenizer.ggml.tokens", typeString, uint64(words))
	for i := range words {
		w.text(fmt.Sprintf("▁tok%d", i))
	}
	const rows, columns = 4096, 14336
	const q4k = columns / 256 * 144 * rows
	for i := range n {
		w.tensor(fmt.Sprintf("blk.%d.ffn_down_exps.%d.weight", i/64, i%64), 12, uint64(i)*q4k, columns, rows)
	}
	w.pad(32)
	return w.b, int64(len(w.b)) + int64(n)*q4k
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ tensors, words int }{{10_000, 0}, {100_000, 0}, {1000, 150_000}} {
		b.Run(fmt.Sprintf("tensors=%d/tokens=%d", c.tensors, c.words), func(b *testing.B) {
			file, size := many(c.tensors, c.words)
			r := bytes.NewReader(file)
			b.ReportAllocs()
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				ix, err := parse(r, size)
				if err != nil || len(ix.Tensors) != c.tensors {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(file))/1e6, "MB/header")
		})
	}
}
