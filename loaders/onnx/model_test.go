// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

// describe is an index, one line a tensor and finding: its bytes as they are or, with
// a *, as they are made.
func describe(t *testing.T, ix *tensors.Index, file []byte) string {
	t.Helper()
	var b strings.Builder
	for _, ts := range ix.Tensors {
		fmt.Fprintf(&b, "%s %s%v ", ts.Name, ts.DType, ts.Shape)
		switch {
		case ts.Maker != nil:
			dst := bytes.Repeat([]byte{0xa5}, int(ts.NBytes))
			if err := ts.Maker.Make(t.Context(), bytes.NewReader(file), dst); err != nil {
				t.Errorf("%q: %v", ts.Name, err)
			}
			b.WriteString("*" + hex.EncodeToString(dst))
		case ts.File != fileName:
			fmt.Fprintf(&b, "%s+%d", ts.File, ts.Offset)
		default:
			b.WriteString(hex.EncodeToString(file[ts.Offset : ts.Offset+ts.NBytes]))
		}
		b.WriteByte('\n')
	}
	for _, f := range ix.Findings {
		fmt.Fprintf(&b, "! %s\n", f.Text)
	}
	return strings.TrimSpace(b.String())
}

func TestParse(t *testing.T) {
	inner := func(name string) piece { return sub(6, simple(name)) } // g
	for name, c := range map[string]struct {
		file piece
		want string
	}{
		"nothing":             {model(), ""},
		"version and so on":   {join(sub(8, num(2, 17)), str(2, "me"), model(str(2, "graph"), simple("a")), str(6, "doc"), num(99, 5)), "a F32[2] 0000000000000000"},
		"fields in any order": {join(sub(7, sub(5, raw(f32(1)), named("a"), typ(1), dims(1))), num(1, 3)), "a F32[1] 0000803f"},
		"packed dims":         {model(initial(sub(1, packed(2, 1)), dims(1), typ(2), named("a"), raw(bin(7, 8)))), "a U8[2 1 1] 0708"},
		"a scalar":            {model(initial(typ(3), named("a"), raw(bin(7)))), "a I8[] 07"},
		"empty":               {model(initial(dims(0, 5), typ(1), named("a"), raw()), initial(dims(0), typ(6), named("b")), initial(dims(0), typ(6), named("c"), sub(5))), "a F32[0 5] \nb I32[0] \nc I32[0]"},
		"no name":             {model(initial(typ(2), raw(bin(1)))), " U8[] 01"},
		"names as written":    {model(initial(typ(2), named("../\x00\xff"), raw(bin(1)))), "../\x00\xff U8[] 01"},
		"unknown fields": {model(num(77, 1), join(tag(78, wireI64), zeros(8)), join(tag(79, wireI32), zeros(4)), str(80, "x"),
			initial(typ(2), num(55, 1), named("a"), raw(bin(1)), str(12, "doc"), sub(16, str(1, "k")))), "a U8[] 01"},

		"floats packed":    {model(initial(dims(2), typ(1), named("a"), sub(4, f32(1, 2)))), "a F32[2] 0000803f00000040"},
		"floats, one":      {model(initial(dims(1), typ(1), named("a"), tag(4, wireI32), f32(1))), "a F32[1] 0000803f"},
		"floats, single":   {model(initial(dims(2), typ(1), named("a"), tag(4, wireI32), f32(1), tag(4, wireI32), f32(2))), "a F32[2] *0000803f00000040"},
		"floats in pieces": {model(initial(dims(4), sub(4, f32(1)), typ(1), sub(4), sub(4, f32(2, 3)), named("a"), tag(4, wireI32), f32(4))), "a F32[4] *0000803f000000400000404000008040"},
		"complex":          {model(initial(dims(1), typ(14), named("a"), sub(4, f32(1, 2))), initial(dims(1), typ(15), named("b"), sub(10, f64(1, 2)))), "a C64[1] 0000803f00000040\nb C128[1] 000000000000f03f0000000000000040"},
		"complex, single":  {model(initial(dims(1), typ(15), named("b"), tag(10, wireI64), f64(1), tag(10, wireI64), f64(2))), "b C128[1] *000000000000f03f0000000000000040"},
		"int32s":           {model(initial(dims(3), typ(6), named("a"), sub(5, packed(-1, 1<<31-1, -1<<31)))), "a I32[3] *ffffffffffffff7f00000080"},
		"int32s, single":   {model(initial(dims(3), typ(6), named("a"), num(5, -2), sub(5, packed(3)), num(5, 4))), "a I32[3] *feffffff0300000004000000"},
		"int32s, 32 bits":  {model(initial(dims(1), typ(6), named("a"), num(5, 0xffff_fffe))), "a I32[1] *feffffff"},
		"int32s, long":     {model(initial(dims(1), typ(6), named("a"), sub(5, bin(0x83, 0x80, 0x80, 0x80, 0x00)))), "a I32[1] *03000000"},
		"halves":           {model(initial(dims(2), typ(10), named("a"), sub(5, packed(0x3c00, 0xffff))), initial(dims(1), typ(16), named("b"), num(5, 0x3f80))), "a F16[2] *003cffff\nb BF16[1] *803f"},
		"8 bits":           {model(initial(dims(2), typ(3), named("a"), sub(5, packed(-128, 127))), initial(dims(2), typ(2), named("b"), sub(5, packed(0, 255))), initial(dims(2), typ(9), named("c"), sub(5, packed(0, 1)))), "a I8[2] *807f\nb U8[2] *00ff\nc BOOL[2] *0001"},
		"4 bits":           {model(initial(dims(2, 2), typ(22), named("a"), sub(5, packed(0x21, 0x43))), initial(dims(2), typ(21), named("b"), raw(bin(0x21))), initial(dims(2), typ(23), named("c"), num(5, 0xff))), "a I4[2 2] *2143\nb U4[2] 21\nc F4[2] *ff"},
		"int64s":           {model(initial(dims(2), typ(7), named("a"), sub(7, packed(-1, 1<<62)))), "a I64[2] *ffffffffffffffff0000000000000040"},
		"uint64s":          {model(initial(dims(1), typ(13), named("a"), num(11, -1)), initial(dims(1), typ(12), named("b"), num(11, 0xffff_ffff))), "a U64[1] *ffffffffffffffff\nb U32[1] *ffffffff"},

		"external":        {model(initial(dims(2), typ(1), named("a"), outside(entry("location", "w.bin")))), "a F32[2] folder/w.bin+0"},
		"external, all":   {model(initial(dims(2), typ(1), named("a"), outside(entry("length", "8"), entry("offset", "4096"), entry("checksum", "x"), entry("location", "./a/b..c/.../ é.bin")), raw())), "a F32[2] folder/a/b..c/.../ é.bin+4096"},
		"external, empty": {model(initial(dims(0), typ(1), named("a"), outside(entry("location", "w"), entry("length", "0")))), "a F32[0] folder/w+0"},

		"constants": {model(
			constant("a", "value", sub(5, typ(2), named("other"), raw(bin(9)))),
			constant("b", "value_float", tag(2, wireI32), f32(1)),
			constant("c", "value_floats", tag(7, wireI32), f32(1), tag(7, wireI32), f32(2)),
			constant("d", "value_floats", sub(7, f32(1, 2))),
			constant("e", "value_int", num(3, -2)),
			constant("f", "value_ints", num(8, 1), sub(8, packed(300, -1)), num(8, 2)),
			constant("g", "value_ints", num(20, 7)), constant("g", "value_ints"),
			constant("h", "value_float", num(20, 1)), constant("i", "value_int", num(20, 2)), constant("i", "value_int"), constant("i", "value", num(20, 4)),
			op(attr("value", sub(5, typ(2), raw(bin(8)))), str(7, "ai.onnx"), str(4, "Constant"), str(2, "j"), str(2, "k")),
		), "a U8[] 09\nb F32[] 0000803f\nc F32[2] *0000803f00000040\nd F32[2] 0000803f00000040\ne I64[] *feffffffffffffff\n" +
			"f I64[4] *01000000000000002c01000000000000ffffffffffffffff0200000000000000\ng I64[0] \nh F32[] *00000000\ni I64[] *0000000000000000\nj U8[] 08"},
		"another Constant":  {model(op(str(2, "a"), str(4, "Constant"), str(7, "mine"), attr("value", sub(5, typ(2), raw(bin(9))))), op(str(2, "a"), str(4, "Constants"), attr("value_float", tag(2, wireI32), f32(1)))), "Constant#0/value U8[] 09"},
		"constant of shape": {model(op(str(3, "n"), str(4, "ConstantOfShape"), attr("value", sub(5, typ(2), raw(bin(9)))))), "n/value U8[] 09"},
		"a reference":       {model(constant("a", "value", str(21, "parameter")), constant("b", "value_int", num(20, 2), str(21, "parameter"))), ""},
		"one path":          {model(op(str(3, "n"), attr("g", inner("a"))), op(str(3, "n"), attr("g", inner("a")))), "n/g/a F32[2] 0000000000000000\nn/g/a~2 F32[2] 0000000000000000"},
		"lists":             {model(op(attr("l", sub(10, typ(2), raw(bin(1))), sub(10, typ(2), raw(bin(2))), sub(11, simple("a")), sub(11, simple("a"))))), "#0/l/0 U8[] 01\n#0/l/1 U8[] 02\n#0/l/0/a F32[2] 0000000000000000\n#0/l/1/a F32[2] 0000000000000000"},
		"graphs":            {model(op(attr("then", inner("a")), attr("else", inner("a")), str(4, "If"), str(3, "n")), simple("a")), "n/then/a F32[2] 0000000000000000\nn/else/a F32[2] 0000000000000000\na F32[2] 0000000000000000"},
		"a path twice":      {model(op(str(3, "n"), attr("g", inner("a"))), op(str(3, "n"), attr("g", inner("a"))), simple("n/g/a~2"), op(str(3, "n"), attr("g", inner("a"), sub(11, simple("a")))), simple("n/g/a")), "n/g/a~3 F32[2] 0000000000000000\nn/g/a~4 F32[2] 0000000000000000\nn/g/a~2 F32[2] 0000000000000000\nn/g/a~5 F32[2] 0000000000000000\nn/g/0/a F32[2] 0000000000000000\nn/g/a F32[2] 0000000000000000"},
		"a long name":       {model(op(str(3, strings.Repeat("x", 201)), str(4, "If"), attr("g", inner("a"))), op(str(3, strings.Repeat("x", 200)), attr("g", inner("a")))), "If#0/g/a F32[2] 0000000000000000\n" + strings.Repeat("x", 200) + "/g/a F32[2] 0000000000000000"},
		"functions":         {join(sub(25, str(1, "f"), sub(7, str(2, "c"), str(4, "Constant"), attr("value_int", num(3, 1))), sub(11, str(1, "d"), sub(5, typ(2), raw(bin(1))))), sub(25), model()), "functions/f/c I64[] *0100000000000000\nfunctions/f/d U8[] 01"},
		"training":          {join(sub(20, sub(1, simple("a")), sub(2, simple("a"))), model()), "training_info/0/initialization/a F32[2] 0000000000000000\ntraining_info/0/algorithm/a F32[2] 0000000000000000"},

		"text":            {model(initial(dims(1), typ(8), named("a"), str(6, "text")), constant("b", "value_string", str(4, "x")), constant("c", "value_strings", str(9, "x")), constant("d", "value_string")), "! the tensor \"a\" holds text, which is not read\n! the tensor \"b\" holds text, which is not read\n! the tensor \"c\" holds text, which is not read"},
		"unknown types":   {model(initial(named("a"), raw(bin(1))), initial(typ(25), named("b")), initial(typ(29), named("c")), initial(typ(-1), named("d")), initial(typ(1<<32+1), named("e"))), "! the tensor \"a\" is of the type 0, which is not read\n! the tensor \"b\" is of the type 25, which is not read\n! the tensor \"c\" is of the type 29, which is not read\n! the tensor \"d\" is of the type -1, which is not read\n! the tensor \"e\" is of the type -1, which is not read"},
		"halves of bytes": {model(initial(dims(3), typ(22), named("a"), raw(zeros(2))), initial(dims(2), typ(27), named("b"), raw(zeros(2))), initial(dims(4), typ(28), named("c"), sub(5, zeros(4))), initial(dims(4), typ(28), named("d"), raw(zeros(3)))), "d F6_E3M2[4] 000000\n! the tensor \"a\" is I4[3], which is no whole number of bytes\n! the tensor \"b\" is F6_E2M3[2], which is no whole number of bytes\n! the tensor \"c\" has its F6_E3M2 in int32_data, which is not read"},
		"segments":        {model(initial(typ(2), named("a"), sub(3, num(1, 0)), raw(bin(1)))), "! the tensor \"a\" is one segment of a tensor, which is not read"},
		"sparse":          {model(sub(15, sub(1, dims(1), typ(1), named("a"), raw(zeros(4))), sub(2)), sub(15), constant("b", "sparse_value", sub(22, sub(1, named("c")))), op(attr("l", sub(23), sub(23)))), "! the tensor \"a\" is sparse, which is not read\n! the tensor \"\" is sparse, which is not read\n! the tensor \"Constant#0/sparse_value/c\" is sparse, which is not read\n! the tensor \"#1/l/\" is sparse, which is not read\n! the tensor \"#1/l/\" is sparse, which is not read"},
	} {
		t.Run(name, func(t *testing.T) {
			size := int64(len(c.file.b))
			ix, err := parse.Look(t, c.file.b, size)
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, size)
			if got := describe(t, ix, c.file.b); got != strings.TrimSpace(c.want) {
				t.Errorf("%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// deep is a graph in n others.
func deep(n int) piece {
	p := simple("a")
	for range n {
		p = op(str(3, "n"), attr("g", sub(6, p)))
	}
	return p
}

func TestDepth(t *testing.T) {
	file := model(deep(maxDepth)).b
	if ix, err := parse.Look(t, file, int64(len(file))); err != nil || len(ix.Tensors) != 1 {
		t.Errorf("%+v, %v", ix, err)
	}
	file = model(deep(maxDepth + 1)).b
	if _, err := parse.Look(t, file, int64(len(file))); err == nil || !strings.Contains(err.Error(), "graphs are nested more than 32 deep") {
		t.Error(err)
	}
}

// TestLargeFile: raw data are not read.
func TestLargeFile(t *testing.T) {
	const n = 1 << 30
	data := join(tag(9, wireBytes), varint(n))
	head := join(dims(n), typ(2), named("a"), data)
	graph := join(tag(5, wireBytes), varint(uint64(len(head.b))+n), head)
	begin := join(num(1, 8), tag(7, wireBytes), varint(uint64(len(graph.b))+n), graph).b
	size := int64(len(begin)) + n
	var ix *tensors.Index
	var err error
	taken := hostile.Allocated(hostile.Fixed, func() { ix, err = parse(&sparse{begin: begin, size: size, reads: t}, size) })
	if err != nil || taken > hostile.Fixed || len(ix.Tensors) != 1 || ix.Tensors[0].Offset != int64(len(begin)) {
		t.Errorf("%+v took %d bytes: %v", ix, taken, err)
	}
}

func TestOver2GiB(t *testing.T) {
	parse.Refuses(t, model().b, 1<<31, 0, "it has 2147483648 bytes, a protobuf has at most 2147483647")
}

// sparse is a file of which only the beginning may be read.
type sparse struct {
	begin []byte
	size  int64
	reads *testing.T
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(s.begin)) {
		s.reads.Errorf("byte %d was read", off)
	}
	clear(p)
	copy(p, s.begin[off:])
	return len(p), nil
}
