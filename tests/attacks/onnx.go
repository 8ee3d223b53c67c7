// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Protobuf's wire types.
const (
	wireVarint = 0
	wireBytes  = 2
	wireStart  = 3
	wireEnd    = 4
)

func varint(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func tag(field, wire uint64) []byte { return varint(field<<3 | wire) }

func pbNum(field, n uint64) []byte { return join(tag(field, wireVarint), varint(n)) }

// message is a field of bytes: a text, a message, raw data.
func message(field uint64, parts ...any) []byte {
	b := join(parts...)
	return join(tag(field, wireBytes), varint(uint64(len(b))), b)
}

// onnx is a ModelProto around a graph with those fields.
func onnx(graph ...[]byte) []byte {
	opset := message(8, pbNum(2, 17))
	return join(pbNum(1, 8), opset, message(7, message(2, "graph"), concat(graph...)))
}

// tensorProto is an initializer. The zero value of a field is the sound one.
type tensorProto struct {
	dims  []byte
	dtype []byte
	name  []byte
	data  []byte // raw_data, or what is there in its place
	more  []byte
}

func (p *tensorProto) bytes() []byte {
	return concat(or(p.dims, pbNum(1, 4)), or(p.dtype, pbNum(2, 1)), or(p.name, message(8, "w")), or(p.data, message(9, fourFloats)), p.more)
}

// initializer is a sound one, but for what the change makes of it.
func initializer(change func(*tensorProto)) []byte {
	p := new(tensorProto)
	if change != nil {
		change(p)
	}
	return message(5, p.bytes())
}

// onnxs lie in the wire format, the tensors or the graph.
func onnxs() []Attack {
	var rows []row
	add := func(what string, data []byte, want Want, imitates string) {
		rows = append(rows, row{what, whole(data), want, imitates, nil})
	}
	tensor := func(what string, want Want, imitates string, change func(*tensorProto)) {
		add(what, onnx(initializer(change)), want, imitates)
	}
	sound := onnx(initializer(nil))

	add("text", []byte("ir_version: 8\ngraph {\n}\n"), refused(""), "protobuf as text")
	add("no-graph", join(pbNum(1, 8)), refused(""), "a model without a graph")
	add("cut", sound[:len(sound)-1], refused(""), "the last byte is missing")
	add("varint-cut", join(sound, "\x80\x80"), refused(""), "a tag that ends within its bytes")
	add("varint-long", join(sound, strings.Repeat("\x80", 10), "\x01"), refused(""), "a number of 77 bits")
	add("varint-endless", join(sound, strings.Repeat("\x80", 1<<20)), refused(""), "a number of a million bytes")
	add("length-past-end", join(pbNum(1, 8), tag(7, wireBytes), varint(1<<20), "x"), refused(""), "a graph that ends behind the file")
	add("length-63", join(pbNum(1, 8), tag(7, wireBytes), varint(1<<63-1), "x"), refused(""), "a graph of 2^63-1 bytes")
	add("length-64", join(pbNum(1, 8), tag(7, wireBytes), varint(1<<64-1), "x"), refused(""), "a graph of -1 bytes")
	add("length-32", join(pbNum(1, 8), tag(7, wireBytes), varint(1<<32+4), "\x12\x02gx"), refused(""), "a length of 33 bits: cut to 32 it is 4")
	add("field-0", join(sound, tag(0, wireVarint), "\x01"), refused(""), "field 0, which there is not")
	add("field-huge", join(sound, varint(1<<40<<3), "\x01"), refused(""), "field 2^40: 29 bits are allowed")
	add("wire-6", join(sound, tag(30, 6)), refused(""), "a wire type that there is not")
	add("group", join(sound, tag(30, wireStart), pbNum(1, 1), tag(30, wireEnd)), safe(), "a group, which proto3 does not write")
	add("group-open", join(sound, tag(30, wireStart)), refused(""), "a group without an end")
	add("group-other-end", join(sound, tag(30, wireStart), tag(31, wireEnd)), refused(""), "a group that ends as another")
	add("group-end-alone", join(sound, tag(30, wireEnd)), refused(""), "the end of no group")
	add("groups-deep", join(sound, strings.Repeat(string(tag(30, wireStart)), 200_000), strings.Repeat(string(tag(30, wireEnd)), 200_000)), safe(), "groups 200,000 deep: recursion ends the process")
	add("graph-number", join(pbNum(1, 8), pbNum(7, 1)), refused(""), "a number as the graph")
	add("graph-twice", join(sound, message(7, initializer(nil))), flagged(""), "two graphs: protobuf merges them, and w is there twice")
	add("graphs-deep", join(pbNum(1, 8), subgraphs(50_000)), flagged(""), "subgraphs in attributes, 50,000 deep: recursion ends the process")
	add("initializer-number", onnx(pbNum(5, 1)), refused(""), "a number as an initializer")
	add("twice", onnx(initializer(nil), initializer(nil)), refused(""), "two initializers of one name")
	add("unknown-field", onnx(initializer(nil), message(999, "evil")), safe(), "a field that nobody knows")

	tensor("raw-short", refused(""), "three floats for a shape of four", func(p *tensorProto) { p.data = message(9, fourFloats[:12]) })
	tensor("raw-long", refused(""), "five floats for a shape of four", func(p *tensorProto) { p.data = message(9, fourFloats, uint32(0)) })
	tensor("raw-twice", flagged(""), "raw data twice: the last one counts", func(p *tensorProto) { p.more = message(9, make([]byte, 16)) })
	tensor("raw-and-typed", refused(""), "raw data and numbers, which differ", func(p *tensorProto) { p.more = message(4, make([]byte, 16)) })
	tensor("raw-number", refused(""), "a number as raw data", func(p *tensorProto) { p.data = pbNum(9, 16) })
	tensor("no-data", refused(""), "a shape without data", func(p *tensorProto) { p.data = []byte{} })
	tensor("floats-short", refused(""), "three numbers for a shape of four", func(p *tensorProto) { p.data = message(4, fourFloats[:12]) })
	tensor("floats-broken", refused(""), "numbers that end within one", func(p *tensorProto) { p.data = message(4, fourFloats[:15]) })
	tensor("typed-wrong", refused(""), "whole numbers for a type of floats", func(p *tensorProto) { p.data = message(7, "\x01\x02\x03\x04") })
	tensor("int-range", refused(""), "a number of 64 bits for a type of 8", func(p *tensorProto) {
		p.dtype, p.data = pbNum(2, 3), message(5, varint(1<<40), "\x01\x02\x03")
	})
	tensor("int-cut", refused(""), "packed numbers that end within one", func(p *tensorProto) {
		p.dtype, p.data = pbNum(2, 7), message(7, "\x01\x02\x03\x80")
	})
	tensor("dims-negative", refused(""), "a dimension of -4", func(p *tensorProto) { p.dims = pbNum(1, 1<<64-4) })
	tensor("dims-overflow", refused(""), "the product overflows to 0", func(p *tensorProto) {
		p.dims = concat(pbNum(1, 1<<32), pbNum(1, 1<<32), pbNum(1, 4))
	})
	tensor("dims-many", refused(""), "a million dimensions", func(p *tensorProto) { p.dims = message(1, strings.Repeat("\x01", 1<<20)) })
	tensor("type-unknown", flagged(""), "a type that nobody knows", func(p *tensorProto) { p.dtype = pbNum(2, 999) })
	tensor("type-none", flagged(""), "type 0, undefined", func(p *tensorProto) { p.dtype = pbNum(2, 0) })
	tensor("type-twice", flagged(""), "two types: the last one counts", func(p *tensorProto) { p.more = pbNum(2, 6) })
	tensor("type-string", flagged(""), "texts, which are no tensor's", func(p *tensorProto) { p.dtype, p.data = pbNum(2, 8), message(6, "evil") })
	tensor("segment", flagged(""), "a part of a tensor", func(p *tensorProto) { p.more = message(3, pbNum(1, 1), pbNum(2, 2)) })
	for _, n := range []struct{ what, name, imitates string }{
		{"dots", "../../../../etc/passwd", "a name that leads out of the mount"},
		{"absolute", "/etc/passwd", "a name that is an absolute path"},
		{"nul", "w\x00.npy", "a name with NUL, at which C ends"},
	} {
		tensor("name-"+n.what, read(n.name), n.imitates, func(p *tensorProto) { p.name = message(8, n.name) })
	}
	tensor("name-utf8", safe(), "a name that is not UTF-8", func(p *tensorProto) { p.name = message(8, "w\xff") })
	tensor("name-missing", safe(), "a tensor without a name", func(p *tensorProto) { p.name = []byte{} })
	return table("onnx", ".onnx", rows...)
}

// subgraphs is a graph whose node has an attribute that is a graph, and so on,
// built from the inside, back to front.
func subgraphs(depth int) []byte {
	var back []byte
	wrap := func(field uint64) {
		head := join(tag(field, wireBytes), varint(uint64(len(back))))
		slices.Reverse(head)
		back = append(back, head...)
	}
	for range depth {
		wrap(6) // AttributeProto.g
		wrap(5) // NodeProto.attribute
		wrap(1) // GraphProto.node
	}
	wrap(7) // ModelProto.graph
	slices.Reverse(back)
	return back
}

// external is an initializer whose data lie beside the model: keys and values in
// turn.
func external(pairs ...string) []byte {
	var entries []byte
	for i := 0; i+1 < len(pairs); i += 2 {
		entries = append(entries, message(13, message(1, pairs[i]), message(2, pairs[i+1]))...)
	}
	return initializer(func(p *tensorProto) { p.data = concat(entries, pbNum(14, 1)) })
}

// onnxData are models whose data lie where they should not.
func onnxData() []Attack {
	var rows []row
	add := func(what string, want Want, imitates string, pairs ...string) {
		rows = append(rows, row{what, whole(onnx(external(pairs...))), want, imitates, nil})
	}
	add("dots", refused(""), "CVE-2022-25882, CVE-2024-27318: data outside the model's folder", "location", "../../../../etc/passwd")
	add("dots-inside", refused(""), "CVE-2025-51480: a path that leads out on its way", "location", "data/../../x")
	add("dots-harmless", refused(""), "a path that comes back: no writer makes it", "location", "data/../w.data")
	add("absolute", refused(""), "onnx/onnx#7686: an absolute path", "location", "/etc/passwd")
	add("backslash", refused(""), "another system's separators", "location", `..\..\secrets`)
	add("drive", refused(""), "another system's absolute path", "location", `C:\secrets`)
	add("url", safe(), "an address: to us a file in a folder http:", "location", "http://127.0.0.1:9/w.data")
	add("nul", refused(""), "a path with NUL: C reads /etc/passwd", "location", "w.data\x00.png")
	add("empty", refused(""), "no path", "location", "")
	add("dot", refused(""), "the folder itself", "location", ".")
	add("slash-behind", refused(""), "a path that ends as a folder", "location", "w.data/")
	add("proc", refused(""), "the process's own memory", "location", "/proc/self/mem")
	add("itself", refused("own file"), "40 GB in the model's own file, which has 86 bytes", "location", "itself.onnx", "offset", "40000000000")
	add("itself-dotted", refused("own file"), "the model's own file, by another path", "location", "././/itself-dotted.onnx")
	add("location-missing", refused(""), "data nowhere", "offset", "0")
	add("location-twice", refused(""), "two places: which one is read?", "location", "w.data", "location", "../evil")
	add("key-unknown", flagged(""), "CVE-2026-34445: a key that becomes an attribute of an object", "location", "w.data", "__class__", "evil")
	add("key-basepath", flagged(""), "CVE-2026-34445: a key that moves the model's folder", "location", "w.data", "basepath", "/etc")
	add("offset-negative", refused(""), "begins before the file", "location", "w.data", "offset", "-16")
	add("offset-huge", refused(""), "offset and length overflow 2^63", "location", "w.data", "offset", "9223372036854775807", "length", "16")
	add("offset-65-bits", refused(""), "an offset of 65 bits: cut to 64 it is 0", "location", "w.data", "offset", "18446744073709551616")
	add("offset-hex", refused(""), "an offset in another base", "location", "w.data", "offset", "0x10")
	add("offset-float", refused(""), "an offset with an exponent", "location", "w.data", "offset", "1e3")
	add("offset-twice", refused(""), "two offsets", "location", "w.data", "offset", "0", "offset", "16")
	add("length-short", refused(""), "three floats for a shape of four", "location", "w.data", "length", "12")
	add("length-long", refused(""), "more than the shape needs", "location", "w.data", "length", "1000")
	add("length-negative", refused(""), "-16 bytes", "location", "w.data", "length", "-16")
	add("length-digits", refused(""), "a length of a million digits", "location", "w.data", "length", strings.Repeat("9", 1<<20))
	add("checksum", safe(), "a checksum that is none", "location", "w.data", "checksum", "evil")
	add("no-entries", refused(""), "data beside the model, without a word where")
	both := initializer(func(p *tensorProto) {
		p.more = concat(message(13, message(1, "location"), message(2, "w.data")), pbNum(14, 1))
	})
	rows = append(rows,
		row{"and-raw", whole(onnx(both)), flagged(""), "data in the model and beside it", nil},
		row{"place-unknown", whole(onnx(initializer(func(p *tensorProto) { p.more = pbNum(14, 7) }))), refused(""), "a place for data that nobody knows", nil},
	)
	return table("onnx-data", ".onnx", rows...)
}
