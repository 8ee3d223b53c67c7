// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import "strings"

// ggml is a file of whisper.cpp from before GGUF. The zero value of a field is the
// sound one.
type ggml struct {
	magic   []byte
	params  []byte // the eleven numbers
	filters []byte
	vocab   []byte
	tensors []byte
}

// ggmlParams are the numbers of a tiny model, with the i-th one changed.
func ggmlParams(i int, v int32) []byte {
	numbers := [11]int32{1, 4, 4, 1, 1, 4, 4, 1, 1, 1, 0}
	if i >= 0 {
		numbers[i] = v
	}
	var b []byte
	for _, n := range numbers {
		b = join(b, n)
	}
	return b
}

func (g ggml) bytes() []byte {
	return concat(or(g.magic, []byte("lmgg")), or(g.params, ggmlParams(-1, 0)),
		or(g.filters, join(int32(1), int32(1), uint32(0))), or(g.vocab, join(int32(1), int32(1), "a")),
		or(g.tensors, ggmlTensor("w", 0, 1, []int32{4}, fourFloats)))
}

func ggmlTensor(name string, kind, dims int32, ne []int32, data []byte) []byte {
	b := join(dims, int32(len(name)), kind)
	for _, n := range ne {
		b = join(b, n)
	}
	return join(b, name, data)
}

// ggmls lie in the numbers of the header: there is no table to check them by.
func ggmls() []Attack {
	tensor := func(kind, dims int32, ne ...int32) Content {
		return whole(ggml{tensors: ggmlTensor("w", kind, dims, ne, fourFloats)}.bytes())
	}
	named := func(name string) Content {
		return whole(ggml{tensors: ggmlTensor(name, 0, 1, []int32{4}, fourFloats)}.bytes())
	}
	file := func(g ggml) Content { return whole(g.bytes()) }
	const most = 1<<31 - 1
	w := ggmlTensor("w", 0, 1, []int32{4}, fourFloats)
	return table("ggml", ".ggml",
		row{"magic", file(ggml{magic: []byte("xxxx")}), refused(""), "another magic", nil},
		row{"magic-ggjt", file(ggml{magic: join(uint32(0x67676a74), uint32(3))}), refused(""), "llama.cpp's format of 2023, which is another", nil},
		row{"magic-ggmf", file(ggml{magic: join(uint32(0x67676d66), uint32(1))}), refused(""), "llama.cpp's format of 2023, which is another", nil},
		row{"magic-ggla", file(ggml{magic: join(uint32(0x67676c61), uint32(1))}), refused(""), "llama.cpp's adapters", nil},
		row{"params-negative", file(ggml{params: ggmlParams(0, -1)}), refused(""), "a vocabulary of -1 words", nil},
		row{"params-large", file(ggml{params: ggmlParams(4, most)}), safe(), "2^31-1 layers: no length depends on them", nil},
		row{"ftype", file(ggml{params: ggmlParams(10, most)}), refused(""), "a type of file that nobody wrote", nil},
		row{"filters-overflow", file(ggml{params: ggmlParams(9, 1<<16), filters: join(int32(1<<16), int32(1<<16))}), refused(""), "2^16 times 2^16 filters: 0 in 32 bits", nil},
		row{"filters-negative", file(ggml{filters: join(int32(1), int32(-4))}), refused(""), "-4 filters", nil},
		row{"filters-large", file(ggml{filters: join(int32(1), int32(most))}), refused(""), "2^31-1 filters", nil},
		row{"vocab-large", file(ggml{vocab: join(int32(most))}), refused(""), "2^31-1 words", nil},
		row{"vocab-negative", file(ggml{vocab: join(int32(-1))}), refused(""), "-1 words", nil},
		row{"word-long", file(ggml{vocab: join(int32(1), int32(most), "a")}), refused(""), "a word of 2 GiB", nil},
		row{"word-negative", file(ggml{vocab: join(int32(1), int32(-1), "a")}), refused(""), "a word of -1 bytes", nil},
		row{"dims-5", tensor(0, 5, 1, 1, 1, 1, 4), refused(""), "five dimensions", nil},
		row{"dims-negative", tensor(0, -1), refused(""), "-1 dimensions", nil},
		row{"dims-large", tensor(0, most), refused(""), "2^31-1 dimensions", nil},
		row{"name-length", file(ggml{tensors: join(int32(1), int32(most), int32(0), int32(4), "w", fourFloats)}), refused(""), "a name of 2 GiB", nil},
		row{"name-length-negative", file(ggml{tensors: join(int32(1), int32(-1), int32(0), int32(4), "w", fourFloats)}), refused(""), "a name of -1 bytes", nil},
		row{"type-unknown", tensor(99, 1, 4), refused(""), "a type that nobody knows", nil},
		row{"type-negative", tensor(-1, 1, 4), refused(""), "a type below 0", nil},
		row{"type-block", tensor(2, 1, 4), refused(""), "four elements in blocks of 32", nil},
		row{"ne-negative", tensor(0, 1, -4), refused(""), "a dimension of -4", nil},
		row{"ne-overflow", tensor(0, 3, most, most, most), refused(""), "the product overflows", nil},
		row{"past-end", tensor(0, 1, 5), refused(""), "a tensor that ends behind the file", nil},
		row{"trailing", file(ggml{tensors: join(w, "evil")}), refused(""), "bytes behind the last tensor", nil},
		row{"twice", file(ggml{tensors: join(w, w)}), refused(""), "one name, two tensors", nil},
		row{"cut", file(ggml{tensors: w[:len(w)-1]}), refused(""), "the last byte is missing", nil},
		row{"name-dots", named("../../../../etc/passwd"), read("../../../../etc/passwd"), "a name that leads out of the mount", nil},
		row{"name-nul", named("w\x00v"), safe(), "a name with NUL, at which C ends", nil},
		row{"name-long", named(strings.Repeat("a", 100_000)), safe(), "a name of 100,000 bytes", nil},
	)
}
