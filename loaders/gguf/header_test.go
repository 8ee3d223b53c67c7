// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

// tensorAt is a tensor of the test's file, with its place in it.
func tensorAt(name string, d tensors.DType, at, n int64, shape ...int64) tensors.Tensor {
	return tensors.Tensor{Name: name, DType: d, Shape: append([]int64{}, shape...), NBytes: n, File: fileName, Offset: at}
}

// number is GGML's number of a type.
func number(t *testing.T, name string) uint32 {
	t.Helper()
	for n, c := range ggml {
		if c.name == name {
			return n
		}
	}
	t.Fatalf("no type %s", name)
	return 0
}

func TestParse(t *testing.T) {
	f32, f16, q81 := number(t, "F32"), number(t, "F16"), number(t, "Q8_1")
	for name, c := range map[string]struct {
		file *writer
		want []tensors.Tensor
	}{
		"nothing":         {start(0, 0), nil},
		"version 2":       {startOf(2, 1, 0).tensor("a", f32, 0, 1).data(4), []tensors.Tensor{tensorAt("a", tensors.F32, 64, 4, 1)}},
		"scalar":          {start(1, 0).tensor("a", f32, 0).data(4), []tensors.Tensor{tensorAt("a", tensors.F32, 64, 4)}},
		"outermost first": {start(1, 0).tensor("a", f16, 0, 2, 3, 4, 5).data(240), []tensors.Tensor{tensorAt("a", tensors.F16, 96, 240, 5, 4, 3, 2)}},
		"padding at the end": {start(2, 0).tensor("a", f32, 0, 1).tensor("b", f32, 32, 1).data(64), []tensors.Tensor{
			tensorAt("a", tensors.F32, 96, 4, 1), tensorAt("b", tensors.F32, 128, 4, 1),
		}},
		"no padding at the end": {start(2, 0).tensor("a", f32, 0, 1).tensor("b", f32, 32, 1).data(36), []tensors.Tensor{
			tensorAt("a", tensors.F32, 96, 4, 1), tensorAt("b", tensors.F32, 128, 4, 1),
		}},
		"a dimension 0": {start(3, 0).tensor("a", f32, 0, 0).tensor("b", f32, 0, 8).tensor("c", f32, 32, 3, 0).data(32), []tensors.Tensor{
			tensorAt("a", tensors.F32, 160, 0, 0), tensorAt("b", tensors.F32, 160, 32, 8), tensorAt("c", tensors.F32, 192, 0, 0, 3),
		}},
		"alignment 1": {start(2, 1).key("general.alignment", typeU32).u32(1).tensor("a", f16, 0, 1).tensor("b", f16, 2, 1).raw(1, 2, 3, 4), []tensors.Tensor{
			tensorAt("a", tensors.F16, 123, 2, 1), tensorAt("b", tensors.F16, 125, 2, 1),
		}},
		"alignment 1 MiB": {start(2, 1).key("general.alignment", typeU32).u32(maxAlignment).tensor("a", f16, 0, 1).tensor("b", f16, 1<<20, 1).pad(1 << 20).raw(make([]byte, 1<<20+2)...), []tensors.Tensor{
			tensorAt("a", tensors.F16, 1<<20, 2, 1), tensorAt("b", tensors.F16, 2<<20, 2, 1),
		}},
		"names as written": {start(3, 0).tensor("", f32, 0, 0).tensor("../\x00\xff", f32, 0, 0).tensor(strings.Repeat("x", 63), f32, 0, 0).data(0), []tensors.Tensor{
			tensorAt("", tensors.F32, 192, 0, 0), tensorAt("../\x00\xff", tensors.F32, 192, 0, 0), tensorAt(strings.Repeat("x", 63), tensors.F32, 192, 0, 0),
		}},
		"wide Q8_1": {start(2, 0).tensor("a", q81, 0, 32, 4).tensor("b", q81, 160, 32).data(200), []tensors.Tensor{
			tensorAt("a", tensors.Q8_1, 128, 160, 4, 32), tensorAt("b", tensors.Q8_1, 288, 40, 32),
		}},
		"narrow Q8_1": {start(2, 0).tensor("a", q81, 0, 32, 16).tensor("b", q81, 576, 32).data(612), []tensors.Tensor{
			tensorAt("a", tensors.Q8_1, 128, 576, 16, 32), tensorAt("b", tensors.Q8_1, 704, 36, 32),
		}},
		"text behind":     {start(1, 0).tensor("a", f32, 0, 8).data(32).raw(1, 2, 3), []tensors.Tensor{tensorAt("a", tensors.F32, 64, 32, 8)}},
		"keys of a model": {every(start(1, 18)).tensor("a", f32, 0, 8).data(32), []tensors.Tensor{tensorAt("a", tensors.F32, 576, 32, 8)}},
	} {
		t.Run(name, func(t *testing.T) {
			size := int64(len(c.file.b))
			ix, err := parse.Look(t, c.file.b, size)
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, size)
			if !reflect.DeepEqual(ix.Tensors, c.want) {
				t.Errorf("%+v\nwant %+v", ix.Tensors, c.want)
			}
		})
	}
}

// every writes 18 keys: a value of each type, arrays of each.
func every(w *writer) *writer {
	for t, width := range widths {
		if width > 0 {
			w.key(fmt.Sprintf("value.%d", t), uint32(t)).raw(make([]byte, width)...)
		}
	}
	w.key("general.name", typeString).text("a\x00\xff")
	w.key("", typeString).text("")
	w.array("array.u16", typeU16, 3).raw(1, 2, 3, 4, 5, 6)
	w.array("array.f64", typeF64, 1).u64(0)
	w.array("array.empty", typeI64, 0)
	w.array("tokens", typeString, 3).text("a").text("").text("bc")
	return w.array("no tokens", typeString, 0)
}

// ggml is the table of interfaces.md: the types by number, with the elements and
// the bytes of a block.
var ggml = map[uint32]struct {
	name            string
	elements, bytes int64
}{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36}, 10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74},
	18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82},
	23: {"IQ4_XS", 256, 136}, 24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8},
	29: {"IQ1_M", 256, 56}, 30: {"BF16", 1, 2}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17},
	40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18}, 42: {"Q2_0", 64, 18},
}

func TestTypes(t *testing.T) {
	for n := range uint32(64) {
		c, ok := ggml[n]
		if !ok {
			w := start(1, 0).here().tensor("a", n, 0, 256).data(1024)
			parse.Refuses(t, w.b, int64(len(w.b)), w.mark, fmt.Sprintf(`the tensor "a" is of the unknown type %d`, n))
			continue
		}
		bytes := 3 * 2 * c.bytes
		w := start(1, 0).here().tensor("a", n, 0, uint64(2*c.elements), 3).data(int(bytes))
		ix, err := parse.Look(t, w.b, int64(len(w.b)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := ix.Tensors[0]; got.DType.String() != c.name || got.NBytes != bytes || got.Shape[1] != 2*c.elements {
			t.Errorf("%s: %+v", c.name, got)
		}
		parse.Refuses(t, w.b[:len(w.b)-1], int64(len(w.b)-1), w.mark,
			fmt.Sprintf(`the tensor "a" of %d bytes begins at byte 96, the file ends at %d`, bytes, 96+bytes-1))
		if c.elements > 1 { // a row is whole blocks, even if all rows together are
			w := start(1, 0).here().tensor("a", n, 0, uint64(c.elements/2), 2).data(int(c.bytes))
			parse.Refuses(t, w.b, int64(len(w.b)), w.mark,
				fmt.Sprintf(`the tensor "a": [2 %d] is no whole number of %s blocks of %d: shape does not fit its dtype`, c.elements/2, c.name, c.elements))
		}
	}
}

func TestMalformed(t *testing.T) {
	const top = 1 << 63
	at := func(n int64, w *writer) *writer {
		w.mark = n
		return w
	}
	name64 := strings.Repeat("x", 64)
	for name, c := range map[string]struct {
		file *writer
		msg  string
	}{
		"empty":               {&writer{}, "a length of 4, 0 bytes are left"},
		"three bytes":         {&writer{b: []byte("GGU")}, "a length of 4, 3 bytes are left"},
		"magic":               {at(0, (&writer{b: []byte("GGUX")}).u32(3).u64(0).u64(0)), `it begins with "GGUX" instead of GGUF`},
		"magic reversed":      {at(0, (&writer{b: []byte("FUGG")}).u32(3).u64(0).u64(0)), `it begins with "FUGG" instead of GGUF`},
		"version 0":           {at(4, startOf(0, 0, 0)), "version 0; 2 and 3 are read"},
		"version 1":           {at(4, startOf(1, 0, 0)), "version 1; 2 and 3 are read"},
		"version 4":           {at(4, startOf(4, 0, 0)), "version 4; 2 and 3 are read"},
		"big-endian 2":        {at(4, startOf(2<<24, 0, 0)), "it is big-endian, which is not read"},
		"big-endian 3":        {at(4, startOf(3<<24, 0, 0)), "it is big-endian, which is not read"},
		"tensors -1":          {at(8, start(math.MaxUint64, 0)), "18446744073709551615 tensors do not fit into the 0 bytes that are left"},
		"tensors 2^63":        {at(8, start(top, 0).raw(make([]byte, 76)...)), "9223372036854775808 tensors do not fit into the 76 bytes that are left"},
		"tensors one more":    {at(8, start(4, 0).raw(make([]byte, 95)...)), "4 tensors do not fit into the 95 bytes that are left"},
		"keys -1":             {at(16, start(0, math.MaxUint64)), "18446744073709551615 keys do not fit into the 0 bytes that are left"},
		"keys 2^60":           {at(16, start(0, 1<<60).raw(make([]byte, 76)...)), "1152921504606846976 keys do not fit into the 76 bytes that are left"},
		"keys one more":       {at(16, start(0, 3).raw(make([]byte, 38)...)), "3 keys do not fit into the 38 bytes that are left"},
		"key cut off":         {start(0, 1).u64(20).here().raw(make([]byte, 19)...), "a length of 20, 19 bytes are left"},
		"key of 2^63":         {start(0, 1).u64(top).here().raw(make([]byte, 76)...), "a length of 9223372036854775808 is over the limit of 65536"},
		"key of 64 KiB + 1":   {start(0, 1).u64(maxKey + 1).here().raw(make([]byte, maxKey+99)...), "a length of 65537 is over the limit of 65536"},
		"key twice":           {start(0, 2).key("a", typeU8).raw(0).here().key("a", typeU32).u32(0), `the key "a" is there twice`},
		"key empty twice":     {start(0, 2).key("", typeU8).raw(0).here().key("", typeU8).raw(0), `the key "" is there twice`},
		"key type 13":         {start(0, 1).text("a").here().u32(13).u64(0), `the key "a" has a value of the unknown type 13`},
		"key type -1":         {start(0, 1).text("a").here().u32(math.MaxUint32).u64(0), `the key "a" has a value of the unknown type 4294967295`},
		"long key":            {start(0, 1).text(strings.Repeat("k", 5000)).here().u32(99).u64(0), `the key "` + strings.Repeat("k", 100) + `" has a value of the unknown type 99`},
		"value cut off":       {start(0, 1).key("ab", typeU64).here().raw(1, 2, 3, 4, 5, 6, 7), "a length of 8, 7 bytes are left"},
		"no type":             {start(0, 1).text("abc").here().raw(0, 0), "4 bytes are needed, 2 are left"},
		"string cut off":      {start(0, 1).key("a", typeString).u64(4).here().raw(1, 2, 3), "a length of 4, 3 bytes are left"},
		"string 64 MiB + 1":   {start(0, 1).key("a", typeString).u64(maxString + 1).here().u64(0), "a string of 67108865 bytes, over the limit of 67108864"},
		"string 2^63":         {start(0, 1).key("a", typeString).u64(top).here().u64(0), "a string of 9223372036854775808 bytes, over the limit of 67108864"},
		"string 64 MiB":       {start(0, 1).key("a", typeString).u64(maxString).here().u64(0), "a length of 67108864, 8 bytes are left"},
		"string no length":    {start(0, 1).key("a", typeString).here().u32(0), "8 bytes are needed, 4 are left"},
		"array cut off":       {start(0, 1).key("a", typeArray).here().u32(typeU32).u64(2).u32(0), "an array of 2 values does not fit into the 4 bytes that are left"},
		"array 2^62 of 4":     {start(0, 1).key("a", typeArray).here().u32(typeU32).u64(1 << 62).u32(0), "an array of 4611686018427387904 values does not fit into the 4 bytes that are left"},
		"array 2^61 of 8":     {start(0, 1).key("a", typeArray).here().u32(typeF64).u64(1 << 61).u32(0), "an array of 2305843009213693952 values does not fit into the 4 bytes that are left"},
		"array -1":            {start(0, 1).key("a", typeArray).here().u32(typeU8).u64(math.MaxUint64).u32(0), "an array of 18446744073709551615 values does not fit into the 4 bytes that are left"},
		"array of strings":    {start(0, 1).key("a", typeArray).here().u32(typeString).u64(2).u64(0).u32(0), "an array of 2 strings does not fit into the 12 bytes that are left"},
		"strings 2^61":        {start(0, 1).key("a", typeArray).here().u32(typeString).u64(1 << 61).u64(0), "an array of 2305843009213693952 strings does not fit into the 8 bytes that are left"},
		"string in array":     {start(0, 1).array("a", typeString, 2).text("x").u64(2).here().raw(1), "a length of 2, 1 bytes are left"},
		"array of arrays":     {start(0, 1).key("a", typeArray).here().u32(typeArray).u64(1).u64(0), "an array of arrays"},
		"array of type 13":    {start(0, 1).key("a", typeArray).here().u32(13).u64(1).u64(0), "an array of the unknown type 13"},
		"array no type":       {start(0, 1).key("a", typeArray).here().raw(1), "4 bytes are needed, 1 are left"},
		"array no count":      {start(0, 1).key("a", typeArray).u32(typeU8).here().raw(1), "8 bytes are needed, 1 are left"},
		"alignment u64":       {start(0, 1).text("general.alignment").here().u32(typeU64).u64(32), "general.alignment is of type 10 instead of 4 (u32)"},
		"alignment 0":         {start(0, 1).key("general.alignment", typeU32).here().u32(0), "general.alignment is 0: no power of two up to 1048576"},
		"alignment 24":        {start(0, 1).key("general.alignment", typeU32).here().u32(24), "general.alignment is 24: no power of two up to 1048576"},
		"alignment 2 MiB":     {start(0, 1).key("general.alignment", typeU32).here().u32(2 << 20), "general.alignment is 2097152: no power of two up to 1048576"},
		"alignment 2^31":      {start(0, 1).key("general.alignment", typeU32).here().u32(1 << 31), "general.alignment is 2147483648: no power of two up to 1048576"},
		"alignment twice":     {start(0, 2).key("general.alignment", typeU32).u32(32).here().key("general.alignment", typeU32).u32(32), `the key "general.alignment" is there twice`},
		"alignment cut off":   {start(0, 1).key("general.alignment", typeU32).here().raw(32, 0), "4 bytes are needed, 2 are left"},
		"name of 64":          {start(1, 0).u64(64).here().raw([]byte(name64)...).u32(0).u32(0).u64(0), "a length of 64 is over the limit of 63"},
		"name of 2^63":        {start(1, 0).u64(top).here().u64(0).u64(0).u64(0), "a length of 9223372036854775808 is over the limit of 63"},
		"name cut off":        {start(1, 0).u64(20).here().raw(make([]byte, 19)...), "a length of 20, 19 bytes are left"},
		"tensor twice":        {start(2, 0).tensor("a", 0, 0, 8).here().tensor("a", 0, 32, 8).data(64), `the tensor "a" is there twice`},
		"five dimensions":     {start(1, 0).here().tensor("a", 0, 0, 1, 1, 1, 1, 1).data(4), `the tensor "a" has 5 dimensions, over the limit of 4`},
		"2^32-1 dimensions":   {start(1, 0).here().text("a").u32(math.MaxUint32).u64(0).u64(0).u64(0), `the tensor "a" has 4294967295 dimensions, over the limit of 4`},
		"dimensions cut off":  {start(1, 0).text("ab").u32(3).u64(1).here().raw(1, 2, 3, 4), "8 bytes are needed, 4 are left"},
		"dimension -1":        {start(1, 0).here().tensor("a", 0, 0, math.MaxUint64), `the tensor "a" has a dimension of -1`},
		"dimension 2^63":      {start(1, 0).here().tensor("a", 0, 0, top), `the tensor "a" has a dimension of -9223372036854775808`},
		"dimensions 2^64":     {start(1, 0).here().tensor("a", 24, 0, 1<<32, 1<<32).data(0), `the tensor "a": [4294967296 4294967296] has over 63 bits of elements: shape does not fit its dtype`},
		"dimensions mod 2^64": {start(1, 0).here().tensor("a", 24, 0, 1<<32+1, 1<<32-1, 2).data(0), `the tensor "a": [2 4294967295 4294967297] has over 63 bits of elements: shape does not fit its dtype`},
		"bytes 2^63":          {start(1, 0).here().tensor("a", 28, 0, 1<<60).data(0), `the tensor "a": [1152921504606846976] of F64 is over 63 bits of bytes: shape does not fit its dtype`},
		"scalar of blocks":    {start(1, 0).here().tensor("a", 2, 0).data(18), `the tensor "a": [] is no whole number of Q4_0 blocks of 32: shape does not fit its dtype`},
		"offset -1":           {start(1, 0).here().tensor("a", 0, math.MaxUint64, 8).data(32), `the tensor "a" begins at byte 18446744073709551615 of the data, the file has 96 bytes`},
		"offset past the end": {start(1, 0).here().tensor("a", 0, 128, 8).data(32), `the tensor "a" begins at byte 128 of the data, the file has 96 bytes`},
		"offset not 0":        {start(1, 0).here().tensor("a", 0, 32, 8).data(64), `the tensor "a" begins at byte 32 of the data, the ones before it end at 0`},
		"hole":                {start(2, 0).tensor("a", 0, 0, 8).here().tensor("b", 0, 64, 8).data(96), `the tensor "b" begins at byte 64 of the data, the ones before it end at 32`},
		"overlap":             {start(2, 0).tensor("a", 0, 0, 16).here().tensor("b", 0, 32, 16).data(96), `the tensor "b" begins at byte 32 of the data, the ones before it end at 64`},
		"the same bytes":      {start(2, 0).tensor("a", 0, 0, 8).here().tensor("b", 0, 0, 8).data(64), `the tensor "b" begins at byte 0 of the data, the ones before it end at 32`},
		"not in order":        {start(2, 0).here().tensor("b", 0, 32, 8).tensor("a", 0, 0, 8).data(64), `the tensor "b" begins at byte 32 of the data, the ones before it end at 0`},
		"not aligned":         {start(2, 0).tensor("a", 0, 0, 1).here().tensor("b", 0, 4, 1).data(8), `the tensor "b" begins at byte 4 of the data, the ones before it end at 32`},
		"other alignment":     {start(2, 1).key("general.alignment", typeU32).u32(64).tensor("a", 0, 0, 1).here().tensor("b", 0, 32, 1).pad(64).raw(make([]byte, 128)...), `the tensor "b" begins at byte 32 of the data, the ones before it end at 64`},
		"past the end":        {start(2, 0).tensor("a", 0, 0, 8).here().tensor("b", 0, 32, 9).data(64), `the tensor "b" of 36 bytes begins at byte 128, the file ends at 160`},
		"no data":             {start(1, 0).here().tensor("a", 0, 0, 8), `the tensor "a" of 32 bytes begins at byte 64, the file ends at 57`},
		"2^62 bytes":          {start(1, 0).here().tensor("a", 24, 0, 1<<62).data(64), `the tensor "a" of 4611686018427387904 bytes begins at byte 64, the file ends at 128`},
		"no type of tensor":   {start(1, 0).text("abcdefgh").u32(1).u64(1).here().raw(1, 2), "4 bytes are needed, 2 are left"},
		"no offset of tensor": {start(1, 0).text("abcdefgh").u32(0).u32(0).here().raw(1, 2), "8 bytes are needed, 2 are left"},
	} {
		t.Run(name, func(t *testing.T) {
			parse.Refuses(t, c.file.b, int64(len(c.file.b)), c.file.mark, c.msg)
		})
	}
}

// sound is a small file with a bit of everything.
func sound() *writer {
	w := start(3, 20)
	every(w).array("last", typeBool, 2).raw(0, 1).key("general.alignment", typeU32).u32(8)
	w.tensor("a", 12, 0, 256, 2).tensor("ä/b", 0, 288).tensor("c", 9, 296, 32)
	return w.pad(8).raw(make([]byte, 332)...)
}

func TestCut(t *testing.T) {
	w := sound()
	parse.Cut(t, w.b, len(w.b)-332)
}

func TestFlippedBits(t *testing.T) {
	w := sound()
	parse.Flip(t, w.b, len(w.b)-332, func(ix *tensors.Index) { check(t, ix, int64(len(w.b))) })
}

func TestFailingReads(t *testing.T) {
	for _, step := range []int{24, 31, 100} {
		parse.Fail(t, sound().b, step)
	}
}

// TestLargeFile: the data are not read, nor the values of keys.
func TestLargeFile(t *testing.T) {
	const n = 1 << 60
	w := start(1, 1).key("tokens", typeString).text(strings.Repeat("x", 8<<20)).tensor("a", 24, 0, n).pad(32)
	size := int64(len(w.b)) + n
	var ix *tensors.Index
	var err error
	taken := hostile.Allocated(hostile.Fixed, func() { ix, err = parse(bytes.NewReader(w.b), size) })
	if err != nil || taken > hostile.Fixed {
		t.Fatalf("a value of 8 MiB took %d bytes: %v", taken, err)
	}
	check(t, ix, size)
}

// TestMemory: what a header says costs nothing, only what it has. The files are
// sparse: large enough for what they say.
func TestMemory(t *testing.T) {
	for name, c := range map[string]struct {
		begin *writer
		size  int64
	}{
		"tensors":          {start(1<<24, 0), 1 << 40},
		"key of 64 KiB":    {start(0, 1).u64(maxKey), 1 << 40},
		"string of 64 MiB": {start(1, 1).key("a", typeString).u64(maxString).u64(0), 60 << 20},
		"array":            {start(1, 1).array("a", typeU64, 1<<25), 1 << 40},
		"header of 1 GiB":  {start(1, 2).array("a", typeU8, 400<<20), 1 << 40},
	} {
		t.Run(name, func(t *testing.T) {
			if ix, err := parse.Look(t, c.begin.b, c.size); err == nil {
				check(t, ix, c.size)
			}
		})
	}
}

// TestHeaderLimit: nothing is read behind 512 MiB.
func TestHeaderLimit(t *testing.T) {
	w := start(0, 1).array("a", typeU8, maxHeader)
	parse.Refuses(t, w.b, 1<<40, 37, fmt.Sprintf("an array of %d values does not fit into the %d bytes that are left", maxHeader, maxHeader-len(w.b)))
	ok := start(0, 1).array("a", typeU8, uint64(maxHeader-len(w.b)))
	if _, err := parse.Look(t, ok.b, 1<<40); err != nil {
		t.Error(err)
	}
}
