// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

// describe is an index, one line a tensor and finding.
func describe(ix *tensors.Index, file []byte) string {
	var b strings.Builder
	for _, t := range ix.Tensors {
		fmt.Fprintf(&b, "%s %s%v %s\n", t.Name, t.DType, t.Shape, hex.EncodeToString(file[t.Offset:t.Offset+t.NBytes]))
	}
	for _, f := range ix.Findings {
		fmt.Fprintf(&b, "! %s\n", f.Text)
	}
	return strings.TrimSpace(b.String())
}

// few are some buffers: the first is empty, as it must be, and number n has n bytes.
func few(n int) []buffer {
	out := []buffer{{}}
	for i := range n {
		out = append(out, buffer{data: bytes.Repeat([]byte{byte(i + 1)}, i+1)})
	}
	return out
}

// all are every type: its number, ours, and the bytes of two elements.
var all = []struct {
	number int8
	name   string
	bytes  uint32
}{
	{0, "F32", 8}, {1, "F16", 4}, {2, "I32", 8}, {3, "U8", 2}, {4, "I64", 16}, {6, "BOOL", 2}, {7, "I16", 4}, {8, "C64", 16},
	{9, "I8", 2}, {10, "F64", 16}, {11, "C128", 32}, {12, "U64", 16}, {15, "U32", 8}, {16, "U16", 4}, {17, "I4", 1},
	{18, "BF16", 4}, {20, "U4", 1}, {21, "F8_E4M3", 2}, {22, "F8_E5M2", 2},
}

func TestTypes(t *testing.T) {
	var g graph
	var want strings.Builder
	for _, c := range all {
		g.tensors = append(g.tensors, entry{name: c.name, dtype: c.number, buffer: c.bytes, shape: []int32{1, 2}})
		fmt.Fprintf(&want, "%s %s[1 2] %s\n", c.name, c.name, strings.Repeat(fmt.Sprintf("%02x", c.bytes), int(c.bytes)))
	}
	file := write(3, few(32), g)
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	check(t, ix, int64(len(file)))
	if got := describe(ix, file); got != strings.TrimSpace(want.String()) || len(all) != len(types) {
		t.Errorf("%s\nwant\n%s", got, want.String())
	}
}

func TestParse(t *testing.T) {
	u8 := func(name string, n int32) entry {
		return entry{name: name, dtype: 3, buffer: uint32(n), shape: []int32{n}}
	}
	long := strings.Repeat("x", maxPrefix+1)
	for name, c := range map[string]struct {
		buffers []buffer
		graphs  []graph
		want    string
	}{
		"nothing":           {nil, nil, ""},
		"no tensors":        {few(1), []graph{{}, {}}, ""},
		"no constants":      {append(few(0), buffer{data: []byte{}}), []graph{{"", []entry{{name: "a", shape: []int32{-1, 5}}, {name: "a", buffer: 1, shape: []int32{0}}}}}, ""},
		"a scalar":          {few(2), []graph{{"main", []entry{{name: "a", dtype: 3, buffer: 1}}}}, "a U8[] 01"},
		"one buffer":        {few(2), []graph{{"", []entry{u8("a", 2), {name: "b", dtype: 7, buffer: 2, shape: []int32{1, 1}}}}}, "a U8[2] 0202\nb I16[1 1] 0202"},
		"names as written":  {few(1), []graph{{"", []entry{u8("../\x00\xff", 1), u8("", 1)}}}, "../\x00\xff U8[1] 01\n U8[1] 01"},
		"namesakes":         {few(3), []graph{{"", []entry{u8("a", 1), u8("a", 2), u8("a~2", 1), u8("a", 3)}}}, "a U8[1] 01\na~3 U8[2] 0202\na~2 U8[1] 01\na~4 U8[3] 030303"},
		"subgraphs":         {few(2), []graph{{"x", []entry{u8("a", 1), u8("y/a", 1)}}, {"y", []entry{u8("a", 2)}}, {"", []entry{u8("a", 1)}}, {"y", []entry{u8("a", 1)}}, {long, []entry{u8("a", 1)}}}, "a U8[1] 01\ny/a U8[1] 01\ny/a~2 U8[2] 0202\nsubgraph2/a U8[1] 01\ny/a~3 U8[1] 01\nsubgraph4/a U8[1] 01"},
		"behind the buffer": {[]buffer{{}, {offset: 4, size: 3}, {offset: 1, size: 99}, {offset: 1, size: 9, data: []byte{7}}}, []graph{{"", []entry{{name: "a", dtype: 3, buffer: 1, shape: []int32{3}}, {name: "b", buffer: 2}, {name: "c", dtype: 3, buffer: 3}}}}, "a U8[3] 54464c\nc U8[] 07"},
		"findings": {few(4), []graph{{"", []entry{
			{name: "text", dtype: 5, buffer: 1}, {name: "resource", dtype: 13, buffer: 1}, {name: "variant", dtype: 14, buffer: 1}, {name: "int2", dtype: 19, buffer: 1}, {name: "new", dtype: 23, buffer: 1}, {name: "-1", dtype: -1, buffer: 1},
			{name: "half", dtype: 17, buffer: 2, shape: []int32{3}}, {name: "sparse", buffer: 1, sparse: true}, {name: "far", external: 7, buffer: 0}, {name: "text", dtype: 5, buffer: 0}, {name: "s", sparse: true},
		}}}, "! the tensor \"text\" is of the type 5, which is not read\n! the tensor \"resource\" is of the type 13, which is not read\n! the tensor \"variant\" is of the type 14, which is not read\n" +
			"! the tensor \"int2\" is of the type 19, which is not read\n! the tensor \"new\" is of the type 23, which is not read\n! the tensor \"-1\" is of the type -1, which is not read\n" +
			"! the tensor \"half\" is I4[3], which is no whole number of bytes\n! the tensor \"sparse\" is sparse, which is not read\n! the tensor \"far\" is in another file, which is not read"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(3, c.buffers, c.graphs...)
			ix, err := parse.Look(t, file, int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, int64(len(file)))
			if got := describe(ix, file); got != strings.TrimSpace(c.want) {
				t.Errorf("%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// sound is a small model with a bit of everything.
func sound() []byte {
	return write(3, append(few(8), buffer{offset: 8, size: 2}), graph{"main", []entry{
		{name: "a", buffer: 8, shape: []int32{2, 1}}, {name: "x", shape: []int32{-1, 2}}, {name: "b", dtype: 3, buffer: 1}, {name: "b", dtype: 9, buffer: 9, shape: []int32{2}},
	}}, graph{"", []entry{{name: "a", dtype: 17, buffer: 3, shape: []int32{3, 2}}, {name: "s", buffer: 8, sparse: true}, {name: "t", dtype: 5, buffer: 4}}})
}

func TestDamaged(t *testing.T) {
	file := sound()
	parse.Flip(t, file, len(file), func(ix *tensors.Index) { check(t, ix, int64(len(file))) })
	parse.Fail(t, file, 40)
	parse.Fail(t, file, 100)
	last := 0
	ix, err := parse(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, ts := range ix.Tensors {
		last = max(last, int(ts.Offset+ts.NBytes))
	}
	for n := range last {
		if _, err := parse.Look(t, file[:n], int64(n)); err == nil {
			t.Errorf("the first %d of %d bytes are taken", n, len(file))
		}
		if _, err := parse(bytes.NewReader(file[:n]), int64(len(file))); err == nil && n < last-16 {
			t.Errorf("a file that ends after %d bytes is taken", n)
		}
	}
}

// TestWithLibrary has the FlatBuffers library read damaged models as well, with its
// checks of bounds, which panic: what is taken is what it reads.
func TestWithLibrary(t *testing.T) {
	file := sound()
	taken, panics := 0, 0
	for i := range len(file) * 8 {
		flipped := slices.Clone(file)
		flipped[i/8] ^= 1 << (i % 8)
		want, paniced := byLibrary(flipped)
		if paniced {
			panics++
		}
		ix, err := parse(bytes.NewReader(flipped), int64(len(flipped)))
		if err != nil {
			continue
		}
		taken++
		var got []string
		for _, ts := range ix.Tensors {
			got = append(got, fmt.Sprintf("%v %x", ts.Shape, flipped[ts.Offset:ts.Offset+ts.NBytes]))
		}
		if paniced || !slices.Equal(got, want) {
			t.Errorf("bit %d of byte %d: %q, want %q (panic: %v)", i%8, i/8, got, want, paniced)
		}
	}
	t.Logf("of %d models the library panics at %d, and %d are taken", len(file)*8, panics, taken)
	// Why the library is not what reads models: docs/decisions/0003-tflite.md.
	if panics < 100 || taken < 100 {
		t.Errorf("of %d models the library panics at %d, and %d are taken: too few for this test", len(file)*8, panics, taken)
	}
}

// byLibrary is the shape and bytes of each constant of a type that is read, as the
// library's accessors give them.
func byLibrary(file []byte) (out []string, paniced bool) {
	defer func() {
		if recover() != nil {
			out, paniced = nil, true
		}
	}()
	root := func(at flatbuffers.UOffsetT) *flatbuffers.Table { return &flatbuffers.Table{Bytes: file, Pos: at} }
	field := func(t *flatbuffers.Table, n int) flatbuffers.UOffsetT {
		return flatbuffers.UOffsetT(t.Offset(flatbuffers.VOffsetT(4 + 2*n)))
	}
	number := func(t *flatbuffers.Table, n int) uint32 {
		if o := field(t, n); o != 0 {
			return t.GetUint32(t.Pos + o)
		}
		return 0
	}
	long := func(t *flatbuffers.Table, n int) uint64 {
		if o := field(t, n); o != 0 {
			return t.GetUint64(t.Pos + o)
		}
		return 0
	}
	child := func(t *flatbuffers.Table, n, i int) *flatbuffers.Table {
		return root(t.Indirect(t.Vector(field(t, n)) + flatbuffers.UOffsetT(4*i)))
	}
	count := func(t *flatbuffers.Table, n int) int {
		if o := field(t, n); o != 0 {
			return t.VectorLen(o)
		}
		return 0
	}
	m := root(flatbuffers.GetUOffsetT(file))
	for i := range count(m, modelSubgraphs) {
		g := child(m, modelSubgraphs, i)
		for k := range count(g, subgraphTensors) {
			ts := child(g, subgraphTensors, k)
			b := child(m, modelBuffers, int(number(ts, tensorBuffer)))
			var data []byte
			if o := field(b, bufferData); o != 0 {
				data = b.ByteVector(b.Pos + o)
			}
			if at := long(b, bufferOffset); at > 1 {
				data = file[at : at+long(b, bufferSize)]
			}
			if len(data) == 0 || field(ts, tensorSparsity) != 0 || number(ts, tensorExternal) != 0 {
				continue
			}
			dtype := int8(0)
			if o := field(ts, tensorType); o != 0 {
				dtype = ts.GetInt8(ts.Pos + o)
			}
			if d, ok := types[dtype]; !ok {
				continue
			} else if odd := product(ts, field(ts, tensorShape)) % 2; d.IsBlock() && odd != 0 {
				continue
			}
			shape := []int32{}
			for j := range count(ts, tensorShape) {
				shape = append(shape, ts.GetInt32(ts.Vector(field(ts, tensorShape))+flatbuffers.UOffsetT(4*j)))
			}
			out = append(out, fmt.Sprintf("%v %x", shape, data))
		}
	}
	return out, false
}

func product(t *flatbuffers.Table, o flatbuffers.UOffsetT) int64 {
	n := int64(1)
	if o == 0 {
		return n
	}
	for j := range t.VectorLen(o) {
		n *= int64(t.GetInt32(t.Vector(o) + flatbuffers.UOffsetT(4*j)))
	}
	return n
}

// TestLargeFile: data are not read, in the FlatBuffer or behind it.
func TestLargeFile(t *testing.T) {
	const n = 1 << 30
	begin := write(3, []buffer{{}, {offset: 1 << 40, size: n}}, graph{"", []entry{{name: "a", dtype: 3, buffer: 1, shape: []int32{n}}}})
	size := int64(1<<40 + n)
	var ix *tensors.Index
	var err error
	read := &counting{r: bytes.NewReader(begin)}
	taken := hostile.Allocated(hostile.Fixed, func() {
		read.n = 0
		ix, err = parse(read, size)
	})
	if err != nil || taken > hostile.Fixed || read.n > 64<<10 {
		t.Fatalf("%d bytes were read, it took %d: %v", read.n, taken, err)
	}
	check(t, ix, size)
}

type counting struct {
	r *bytes.Reader
	n int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.n += len(p)
	return c.r.ReadAt(p, off)
}

// put is a file with a number of 32 bits in another place.
func put(file []byte, at int, v uint32) []byte {
	out := slices.Clone(file)
	binary.LittleEndian.PutUint32(out[at:], v)
	return out
}
