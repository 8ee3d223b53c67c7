// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"encoding/binary"
	"strings"
)

// flat assembles a flatbuffer: tables, vectors and texts behind each other, with
// labels for what refers to them.
type flat struct {
	b      []byte
	labels map[string]int
	refs   map[int]string
}

// ref is a field that refers to a label.
type ref string

// mark says that the next byte has a label.
func (f *flat) mark(label string) { f.labels[label] = len(f.b) }

func (f *flat) refer(to ref) {
	f.refs[len(f.b)] = string(to)
	f.b = append(f.b, 0, 0, 0, 0)
}

// table writes a vtable and the table behind it. A field is nil, a ref, a byte, a
// uint32 or a uint64.
func (f *flat) table(label string, fields ...any) {
	f.b = padTo(f.b, 8)
	f.mark(label + ".vtable")
	vtable := len(f.b)
	size, offsets := uint16(4), []byte{}
	for _, v := range fields {
		width := uint16(4)
		switch v.(type) {
		case nil:
			offsets = join(offsets, uint16(0))
			continue
		case uint64:
			width = 8
			size += 4 // tables begin at multiples of 8, less 4
			size -= size % 8
		}
		offsets = join(offsets, size)
		size += width
	}
	f.b = join(f.b, uint16(4+len(offsets)), size, offsets)
	f.b = padTo(f.b, 8)
	f.mark(label)
	at := len(f.b)
	f.b = join(f.b, int32(at-vtable))
	for i, v := range fields {
		for v != nil && len(f.b) < at+int(binary.LittleEndian.Uint16(offsets[2*i:])) {
			f.b = append(f.b, 0)
		}
		switch v := v.(type) {
		case ref:
			f.refer(v)
		case byte:
			f.b = append(f.b, v, 0, 0, 0)
		case nil:
		default:
			f.b = join(f.b, v)
		}
	}
}

// vector writes a length and elements, which begin at a multiple of 16.
func (f *flat) vector(label string, count int, elements ...any) {
	for len(f.b)%16 != 12 {
		f.b = append(f.b, 0)
	}
	f.mark(label)
	f.b = join(f.b, uint32(count))
	for _, e := range elements {
		if r, ok := e.(ref); ok {
			f.refer(r)
			continue
		}
		f.b = join(f.b, e)
	}
}

func (f *flat) text(label, s string) {
	f.vector(label, len(s), s, byte(0))
}

// bytes fills the references in.
func (f *flat) bytes() []byte {
	for at, label := range f.refs {
		to, ok := f.labels[label]
		if !ok {
			panic("flat: nothing is labelled " + label)
		}
		binary.LittleEndian.PutUint32(f.b[at:], uint32(to-at))
	}
	return f.b
}

// flatModel is a TFLite model of one tensor. The zero value of a field is the
// sound one.
type flatModel struct {
	kind    byte
	shape   []int32
	buffer  uint32
	name    string
	data    []byte
	outside []uint64 // offset and size of data behind the flatbuffer
	tail    []byte
	// lie changes the file, which has those labels.
	lie func(b []byte, labels map[string]int)
}

func (m flatModel) bytes() []byte {
	if m.shape == nil {
		m.shape = []int32{4}
	}
	if m.buffer == 0 {
		m.buffer = 1
	}
	if m.name == "" {
		m.name = "w"
	}
	f := &flat{labels: map[string]int{}, refs: map[int]string{}}
	f.refer("model")
	f.b = append(f.b, "TFL3"...)
	f.table("model", uint32(3), ref("codes"), ref("graphs"), nil, ref("buffers"))
	f.vector("codes", 0)
	f.vector("graphs", 1, ref("graph"))
	f.table("graph", ref("tensors"), ref("inputs"), ref("outputs"), ref("operators"))
	f.vector("inputs", 0)
	f.vector("outputs", 0)
	f.vector("operators", 0)
	f.vector("tensors", 1, ref("tensor"))
	f.table("tensor", ref("shape"), m.kind, m.buffer, ref("name"))
	f.vector("shape", len(m.shape))
	for _, n := range m.shape {
		f.b = join(f.b, n)
	}
	f.text("name", m.name)
	f.vector("buffers", 2, ref("none"), ref("buffer"))
	f.table("none")
	if m.outside != nil {
		f.table("buffer", nil, m.outside[0], m.outside[1])
	} else {
		data := or(m.data, fourFloats)
		f.table("buffer", ref("data"))
		f.vector("data", len(data), data)
	}
	b := join(f.bytes(), m.tail)
	if m.lie != nil {
		m.lie(b, f.labels)
	}
	return b
}

// tflites lie in the offsets of the flatbuffer, or in what it says.
func tflites() []Attack {
	le := binary.LittleEndian
	var rows []row
	add := func(what string, m flatModel, want Want, imitates string) {
		rows = append(rows, row{what, whole(m.bytes()), want, imitates, nil})
	}
	// put32 and put16 change a number, at so many bytes behind a label.
	put32 := func(label string, behind int, v uint32) flatModel {
		return flatModel{lie: func(b []byte, at map[string]int) { le.PutUint32(b[at[label]+behind:], v) }}
	}
	put16 := func(label string, behind int, v uint16) flatModel {
		return flatModel{lie: func(b []byte, at map[string]int) { le.PutUint16(b[at[label]+behind:], v) }}
	}
	start := func(parts ...any) flatModel {
		return flatModel{lie: func(b []byte, _ map[string]int) { copy(b, join(parts...)) }}
	}
	add("root-past-end", start(uint32(1<<31)), refused(""), "a root behind the file's end")
	add("root-max", start(uint32(1<<32-1)), refused(""), "a root at -1")
	add("root-itself", start(uint32(0)), refused(""), "a root that is itself")
	add("identifier", start(uint32(0), "TFL9"), refused(""), "another format's identifier")
	add("vtable-past-end", put32("model", 0, 1<<31), refused(""), "a vtable before the file")
	add("vtable-behind", put32("model", 0, 0x80000001), refused(""), "a vtable far behind the file's end")
	add("vtable-odd", put16("model.vtable", 0, 5), refused(""), "a vtable of five bytes")
	add("vtable-small", put16("tensor.vtable", 0, 0), refused(""), "a vtable without its own length")
	add("vtable-large", put16("tensor.vtable", 0, 0xfffe), refused(""), "a vtable that ends behind the file")
	add("table-large", put16("tensor.vtable", 2, 0xffff), refused(""), "a table that ends behind the file")
	add("field-outside", put16("tensor.vtable", 4, 0xfff0), refused(""), "a field behind its table")
	add("field-on-vtable", put16("tensor.vtable", 4, 1), safe(), "a field within the table's first number")
	add("version", put32("model", 4, 99), refused("version"), "a version that nobody wrote")
	add("graphs-max", put32("graphs", 0, 1<<32-1), refused(""), "2^32-1 subgraphs")
	add("graphs-overflow", put32("graphs", 0, 1<<30), refused(""), "2^30 subgraphs of four bytes: 0 bytes")
	add("graphs-none", put32("graphs", 0, 0), safe(), "no subgraph")
	add("graph-wraps", put32("graphs", 4, 1<<32-4), refused(""), "a reference back: the subgraph is its own list")
	add("graph-cycle", put32("graph", 4, 1<<32-64), refused(""), "a reference back into what is above")
	add("graph-itself", put32("graphs", 4, 0), refused(""), "a reference to itself")
	add("tensors-max", put32("tensors", 0, 1<<32-1), refused(""), "2^32-1 tensors")
	add("buffers-max", put32("buffers", 0, 1<<31), refused(""), "2^31 buffers")
	add("buffers-none", put32("buffers", 0, 0), refused(""), "a tensor of a buffer that there is not")
	add("buffer-index", flatModel{buffer: 1 << 31}, refused(""), "a buffer that there is not")
	add("data-long", put32("data", 0, 1<<31), refused(""), "data that end behind the file")
	add("data-past-shape", flatModel{shape: []int32{5}}, refused(""), "16 bytes for five floats")
	add("data-short-shape", flatModel{shape: []int32{3}}, refused(""), "16 bytes for three floats")
	add("outside", flatModel{outside: []uint64{1 << 40, 16}}, refused(""), "data behind the file's end")
	add("outside-overflow", flatModel{outside: []uint64{1<<64 - 8, 16}}, refused(""), "an offset and a size that add up to 8")
	add("outside-size", flatModel{outside: []uint64{64, 1 << 63}}, refused(""), "data of 2^63 bytes")
	add("shape-negative", flatModel{shape: []int32{-4}}, refused(""), "a dimension of -4")
	add("shape-two-negative", flatModel{shape: []int32{-2, -2}}, refused(""), "two dimensions below 0: the product is right")
	add("shape-overflow", flatModel{shape: []int32{1 << 30, 1 << 30, 16}}, refused(""), "the product overflows to 0")
	add("shape-max", put32("shape", 0, 1<<32-1), refused(""), "2^32-1 dimensions")
	add("type-unknown", flatModel{kind: 200}, found("not read"), "a type that nobody knows")
	add("name-dots", flatModel{name: "../../../../etc/passwd"}, read("../../../../etc/passwd"), "a name that leads out of the mount")
	add("name-nul", flatModel{name: "w\x00v"}, safe(), "a name with NUL, at which C ends")
	add("name-long", put32("name", 0, 1<<32-1), refused(""), "a name of 4 GiB")
	add("name-utf8", flatModel{name: "w\xff"}, safe(), "a name that is not UTF-8")
	add("trailing", flatModel{tail: pickled(2, call(global("posix.system"), text(shell)))}, safe(), "a pickle behind the flatbuffer: metadata lie there rightly")
	all := table("tflite", ".tflite", rows...)
	cut := flatModel{}.bytes()
	return append(all, table("tflite", ".tflite",
		row{"cut", whole(cut[:len(cut)-1]), refused(""), "the last byte is missing", nil},
		row{"many-of-one", whole(manyOfOne()), safe(), "65,536 tensors that are one table", nil},
		row{"text", whole([]byte(strings.Repeat("A", 4096))), refused(""), "no flatbuffer", nil},
	)...)
}

// manyOfOne is a model with a list of tensors that all refer to one table.
func manyOfOne() []byte {
	const n = 1 << 16
	f := &flat{labels: map[string]int{}, refs: map[int]string{}}
	f.refer("model")
	f.b = append(f.b, "TFL3"...)
	f.table("model", uint32(3), nil, ref("graphs"), nil, ref("buffers"))
	f.vector("graphs", 1, ref("graph"))
	f.table("graph", ref("tensors"))
	all := make([]any, n)
	for i := range all {
		all[i] = ref("tensor")
	}
	f.vector("tensors", n, all...)
	f.table("tensor", ref("shape"), byte(0), uint32(1), ref("name"))
	f.vector("shape", 1, uint32(4))
	f.text("name", "w")
	f.vector("buffers", 2, ref("none"), ref("buffer"))
	f.table("none")
	f.table("buffer", ref("data"))
	f.vector("data", len(fourFloats), fourFloats)
	return f.bytes()
}
