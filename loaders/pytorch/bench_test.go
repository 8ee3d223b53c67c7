// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"fmt"
	"testing"
)

// many is an archive of n tensors named as a language model's, each with a storage of
// its own, memoized as Python's pickler does. The storages are small.
func many(n int) []byte {
	p := start().op("}q\x00(")
	memo := uint32(1)
	put := func() *pickle {
		p.op("r")
		p.b = le.AppendUint32(p.b, memo)
		memo++
		return p
	}
	parts := make([]part, 1, n+2)
	for i := range n {
		key := fmt.Sprint(i)
		p.text(fmt.Sprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", i/64, i%64))
		put().op("ctorch._utils\n_rebuild_tensor_v2\n")
		put().op("((X\x07\x00\x00\x00storage")
		put().op("ctorch\nFloatStorage\n")
		put().text(key)
		put().text("cpu")
		put().op("K\x10t")
		put().op("QK\x00K\x04K\x04\x86")
		put().op("K\x04K\x01\x86")
		put().op("\x89ccollections\nOrderedDict\n")
		put().op(")R")
		put().op("t")
		put().op("R")
		put()
		parts = append(parts, part{name: folder + "data/" + key, content: make([]byte, 64)})
	}
	parts[0] = part{name: folder + "data.pkl", content: p.op("u.").b}
	return zipped(parts...)
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{100, 10_000, 40_000} {
		b.Run(fmt.Sprintf("tensors=%d", n), func(b *testing.B) {
			file := many(n)
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
