// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// FuzzParse takes whole files.
func FuzzParse(f *testing.F) {
	f.Add(sound())
	f.Add(model(simple("a")).b)
	f.Add(model(deep(3)).b)
	f.Add(model(initial(dims(3), typ(14), named("a"), sub(4, zeros(24))), constant("b", "value_ints", num(8, 1), num(8, 2))).b)
	f.Add(join(num(1, 8), bin(0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f)).b)
	f.Fuzz(func(t *testing.T, file []byte) { takes(t, file) })
}

// takes looks at what is taken of a file.
func takes(t *testing.T, file []byte) {
	if ix, err := parse.Look(t, file, int64(len(file))); err == nil {
		check(t, ix, int64(len(file)))
		maken(t, ix, bytes.NewReader(file))
	}
}

// FuzzFields changes fields of a sound model: their numbers, types, values and
// lengths, where they are and how often.
func FuzzFields(f *testing.F) {
	for at := range uint16(len(all(decode(sound(), 0)))) {
		for how := range uint8(ways) {
			f.Add(at, how, uint64(at)*7, uint16(0), uint8(setValue), uint64(8))
		}
	}
	for _, v := range []uint64{0, 1, 127, 128, 1 << 31, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		f.Add(uint16(20), uint8(setLength), v, uint16(30), uint8(setValue), v)
	}
	f.Fuzz(func(t *testing.T, at uint16, how uint8, v uint64, at2 uint16, how2 uint8, v2 uint64) {
		top := &part{wire: wireBytes, in: decode(sound(), 0)}
		change(top, int(at), how, v)
		change(top, int(at2), how2, v2)
		takes(t, top.content())
	})
}

// part is a field of a message: with fields in it, or bytes, or a number.
type part struct {
	number uint64
	wire   byte
	n      uint64
	length uint64 // said in place of the true one; 0: the true one
	b      []byte
	in     []*part
}

// decode takes a sound message apart. What reads as a message is one.
func decode(b []byte, depth int) []*part {
	var out []*part
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 99 {
			return nil
		}
		b = b[n:]
		p := &part{number: tag >> 3, wire: byte(tag & 7)}
		size := 0
		switch p.wire {
		case wireVarint:
			p.n, size = binary.Uvarint(b)
		case wireI32:
			size = 4
		case wireI64:
			size = 8
		case wireBytes:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return nil
			}
			b, size = b[n:], int(v)
		default:
			return nil
		}
		if size > len(b) {
			return nil
		}
		if p.b = b[:size]; p.wire == wireBytes && size > 1 {
			p.in = decode(p.b, depth+1)
		}
		b = b[size:]
		out = append(out, p)
	}
	return out
}

// content is a message put together again.
func (p *part) content() []byte {
	if p.in == nil {
		return p.b
	}
	var b []byte
	for _, q := range p.in {
		b = binary.AppendUvarint(b, q.number<<3|uint64(q.wire))
		in := q.content()
		switch q.wire {
		case wireVarint:
			in = binary.AppendUvarint(nil, q.n)
		case wireBytes:
			length := uint64(len(in))
			if q.length > 0 {
				length = q.length
			}
			b = binary.AppendUvarint(b, length)
		}
		b = append(b, in...)
	}
	return b
}

// all lists fields and what is in them.
func all(parts []*part) []*part {
	var out []*part
	for _, p := range parts {
		out = append(append(out, p), all(p.in)...)
	}
	return out
}

// The ways to change a field.
const (
	setValue = iota
	setNumber
	setWire
	setLength
	setByte
	twice
	graft
	remove
	moveUp
	ways
)

// change does one thing to the at-th field.
func change(top *part, at int, how uint8, v uint64) {
	list := all(top.in)
	if len(list) == 0 || len(list) > 500 {
		return
	}
	p := list[at%len(list)]
	other := list[int(v%uint64(len(list)))]
	holder := top
	for _, q := range list {
		if slices.Contains(q.in, p) {
			holder = q
		}
	}
	i := slices.Index(holder.in, p)
	switch how % ways {
	case setValue:
		p.n = v
	case setNumber:
		p.number = v % 32
	case setWire:
		p.wire = byte(v % 8)
	case setLength:
		p.length = v
	case setByte:
		if p.b = slices.Clone(p.b); len(p.b) > 0 {
			p.b[v>>8%uint64(len(p.b))], p.in = byte(v), nil
		}
	case twice:
		holder.in = append(holder.in, p)
	case graft:
		if !slices.Contains(all(other.in), p) && p != other {
			p.in = append(p.in, other)
			p.wire = wireBytes
		}
	case remove:
		holder.in = slices.Delete(slices.Clone(holder.in), i, i+1)
	case moveUp:
		holder.in = slices.Delete(slices.Clone(holder.in), i, i+1)
		top.in = append(top.in, p)
	}
}
