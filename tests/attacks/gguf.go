// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"bytes"
	"strings"
)

// gguf is a file. Its zero values are the sound ones, and counts what the lists
// hold.
type gguf struct {
	version         uint32
	nTensors, nKeys uint64 // counts that lie
	keys            []byte // the keys and values, ready made
	tensors         []ggufTensor
	data            []byte
	align           int
	countTensors    bool // nTensors is what the file says, even if it is 0
	countKeys       bool
}

type ggufTensor struct {
	name   string
	dims   uint32 // a number that lies; 0: as many as ne has
	ne     []uint64
	kind   uint32
	offset uint64
}

func (g gguf) bytes() []byte {
	if g.version == 0 {
		g.version = 3
	}
	if !g.countTensors {
		g.nTensors = uint64(len(g.tensors))
	}
	if !g.countKeys {
		g.nKeys = uint64(bytes.Count(g.keys, []byte("test.")))
	}
	b := join("GGUF", g.version, g.nTensors, g.nKeys, g.keys)
	for _, t := range g.tensors {
		if t.dims == 0 {
			t.dims = uint32(len(t.ne))
		}
		b = join(b, uint64(len(t.name)), t.name, t.dims)
		for _, n := range t.ne {
			b = join(b, n)
		}
		b = join(b, t.kind, t.offset)
	}
	if g.align == 0 {
		g.align = 32
	}
	return join(padTo(b, g.align), g.data)
}

// GGUF's types of values.
const (
	ggufU32    = uint32(4)
	ggufBool   = uint32(7)
	ggufString = uint32(8)
	ggufArray  = uint32(9)
	ggufU64    = uint32(10)
)

// ggufKey is a key test.NAME with a value.
func ggufKey(name string, kind uint32, value ...any) []byte {
	name = "test." + name
	return join(uint64(len(name)), name, kind, join(value...))
}

// alignment is the key general.alignment.
func alignment(kind uint32, value ...any) gguf {
	const name = "general.alignment"
	return gguf{keys: join(uint64(len(name)), name, kind, join(value...)), nKeys: 1, countKeys: true}
}

// ggufs lie in counts, keys and tensors.
func ggufs() []Attack {
	w := ggufTensor{name: "w", ne: []uint64{4}}
	// file is a sound file with that in it.
	file := func(g gguf) Content {
		if g.tensors == nil && !g.countTensors {
			g.tensors = []ggufTensor{w}
		}
		if g.data == nil {
			g.data = padTo(bytes.Clone(fourFloats), 32)
		}
		return whole(g.bytes())
	}
	keys := func(keys ...[]byte) Content { return file(gguf{keys: concat(keys...)}) }
	tensors := func(all ...ggufTensor) Content { return file(gguf{tensors: all}) }
	named := func(name string) Content { return tensors(ggufTensor{name: name, ne: w.ne}) }
	counts := func(tensors, keys uint64) Content {
		return file(gguf{nTensors: tensors, nKeys: keys, countTensors: true, countKeys: true})
	}
	second := func(offset uint64) Content {
		return file(gguf{tensors: []ggufTensor{w, {name: "v", ne: w.ne, offset: offset}}, data: make([]byte, 128)})
	}
	return table("gguf", ".gguf", []row{
		{"magic", whole(patched(gguf{}.bytes(), 0, "GGUX")), refused(""), "another magic", nil},
		{"version-1", file(gguf{version: 1}), refused("version"), "version 1, whose counts have 32 bits", nil},
		{"version-99", file(gguf{version: 99}), refused("version"), "a version that nobody wrote", nil},
		{"big-endian", file(gguf{version: 3 << 24}), refused("endian"), "the other byte order", nil},
		{"tensors-max", counts(1<<64-1, 0), refused(""), "ggml-org/llama.cpp#15711: 2^64-1 tensors", nil},
		{"tensors-overflow", counts(1<<61, 0), refused(""), "2^61 tensors: times their size, 0", nil},
		{"tensors-few", counts(2, 0), refused(""), "more tensors than there is room for", nil},
		{"keys-max", counts(0, 1<<64-1), refused(""), "2^64-1 keys", nil},
		{"keys-63", counts(0, 1<<63), refused(""), "2^63 keys: negative as a signed number", nil},
		{"key-long", file(gguf{keys: join(uint64(1<<63-1), "test."), nKeys: 1, countKeys: true}), refused(""), "a key of 2^63-1 bytes", nil},
		{"key-twice", keys(ggufKey("a", ggufU32, uint32(1)), ggufKey("a", ggufU32, uint32(2))), refused("twice"), "one key, two values", nil},
		{"key-type", keys(ggufKey("a", 13)), refused(""), "a value of a type that nobody knows", nil},
		{"string-long", keys(ggufKey("a", ggufString, uint64(1<<30), "x")), refused(""), "ggml-org/ggml#1516: a string of 1 GiB", nil},
		{"string-wraps", keys(ggufKey("a", ggufString, uint64(1<<64-1), "x")), refused(""), "a string of 2^64-1 bytes: with its end, 0", nil},
		{"string-sparse", Content{Head: gguf{keys: ggufKey("a", ggufString, uint64(1<<32)), tensors: []ggufTensor{w}}.bytes(), Size: 1 << 33}, refused(""), "ggml-org/llama.cpp#19856: a string of 4 GiB, in a file that has room", nil},
		{"array-count", keys(ggufKey("a", ggufArray, ggufU32, uint64(1<<63))), refused(""), "an array of 2^63 numbers", nil},
		{"array-overflow", keys(ggufKey("a", ggufArray, ggufU64, uint64(1<<61))), refused(""), "an array of 2^61 numbers of 8 bytes: 0 bytes", nil},
		{"array-strings", keys(ggufKey("a", ggufArray, ggufString, uint64(1<<61))), refused(""), "an array of 2^61 strings", nil},
		{"array-nested", keys(ggufKey("a", ggufArray, ggufArray, uint64(1), ggufU32, uint64(0))), refused(""), "an array of arrays", nil},
		{"array-deep", keys(ggufKey("a", ggufArray, bytes.Repeat(join(ggufArray, uint64(1)), 100_000))), refused(""), "arrays 100,000 deep", nil},
		{"array-type", keys(ggufKey("a", ggufArray, uint32(77), uint64(1))), refused(""), "an array of a type that nobody knows", nil},
		{"array-empty-strings", whole(gguf{keys: ggufKey("a", ggufArray, ggufString, uint64(1<<20), make([]byte, 8<<20)), tensors: []ggufTensor{w}, data: fourFloats}.bytes()), read("w"), "a million empty strings", nil},
		{"bool", keys(ggufKey("a", ggufBool, byte(2))), safe(), "a truth value of 2", nil},
		{"alignment-0", file(alignment(ggufU32, uint32(0))), refused("alignment"), "a division by 0", nil},
		{"alignment-3", file(alignment(ggufU32, uint32(3))), refused("alignment"), "no power of two", nil},
		{"alignment-30", file(alignment(ggufU32, uint32(1<<30))), refused("alignment"), "ggml-org/ggml#1516: an alignment of 2^30", nil},
		{"alignment-31", file(alignment(ggufU32, uint32(1<<31))), refused("alignment"), "an alignment that is negative as a signed number", nil},
		{"alignment-type", file(alignment(ggufU64, uint64(32))), refused("alignment"), "an alignment of another type", nil},
		{"alignment-string", file(alignment(ggufString, uint64(2), "32")), refused("alignment"), "an alignment that is text", nil},
		{"dims-5", tensors(ggufTensor{name: "w", ne: []uint64{1, 1, 1, 1, 4}}), refused(""), "five dimensions", nil},
		{"dims-max", tensors(ggufTensor{name: "w", dims: 1<<32 - 1, ne: w.ne}), refused(""), "2^32-1 dimensions", nil},
		{"ne-negative", tensors(ggufTensor{name: "w", ne: []uint64{1<<64 - 4}}), refused(""), "a dimension of -4", nil},
		{"ne-overflow", tensors(ggufTensor{name: "w", ne: []uint64{1 << 32, 1 << 32, 4}}), refused(""), "ggml-org/llama.cpp#18674, #27203: the product overflows to 0", nil},
		{"ne-overflow-bytes", tensors(ggufTensor{name: "w", ne: []uint64{1 << 62}}), refused(""), "ollama/ollama#15846: the number of bytes overflows to 0", nil},
		{"ne-zero-overflow", tensors(ggufTensor{name: "w", ne: []uint64{0, 1 << 62, 1 << 62}}), safe(), "a product that overflows, and a 0", nil},
		{"type-removed", tensors(ggufTensor{name: "w", ne: w.ne, kind: 4}), refused(""), "a type that was removed", nil},
		{"type-unknown", tensors(ggufTensor{name: "w", ne: w.ne, kind: 1 << 31}), refused(""), "a type that nobody knows", nil},
		{"type-block", tensors(ggufTensor{name: "w", ne: w.ne, kind: 2}), refused(""), "four elements in blocks of 32", nil},
		{"tensor-twice", file(gguf{tensors: []ggufTensor{w, {name: "w", ne: w.ne, offset: 32}}, data: make([]byte, 64)}), refused("twice"), "one name, two tensors", nil},
		{"past-end", tensors(ggufTensor{name: "w", ne: []uint64{1 << 20}}), refused(""), "a tensor that ends behind the file", nil},
		{"offset-max", tensors(ggufTensor{name: "w", ne: w.ne, offset: 1<<64 - 32}), refused(""), "an offset of -32", nil},
		{"offset-far", tensors(ggufTensor{name: "w", ne: w.ne, offset: 1 << 40}), refused(""), "an offset behind the file", nil},
		{"hole", second(64), refused(""), "bytes between two tensors that nobody owns", nil},
		{"overlap", second(0), refused(""), "two tensors in one place", nil},
		{"misaligned", second(16), refused(""), "a tensor within the padding", nil},
		{"cut", whole(gguf{tensors: []ggufTensor{w}, data: fourFloats[:15]}.bytes()), refused(""), "the last byte is missing", nil},
		{"name-long", named(strings.Repeat("a", 64)), refused(""), "a name of 64 bytes: ggml has room for 63", nil},
		{"name-huge", file(gguf{keys: join(uint64(1<<62), "w", make([]byte, 64)), countKeys: true, nTensors: 1, countTensors: true}), refused(""), "a name of 2^62 bytes", nil},
		{"name-dots", named("../../../../etc/passwd"), read("../../../../etc/passwd"), "a name that leads out of the mount", nil},
		{"name-nul", named("w\x00v"), safe(), "a name with NUL, at which C ends", nil},
		{"name-utf8", named("w\xff"), safe(), "a name that is not UTF-8", nil},
		{"name-empty", named(""), safe(), "a name without a letter", nil},
	}...)
}
