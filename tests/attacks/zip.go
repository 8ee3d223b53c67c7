// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import "hash/crc32"

// archive is a zip archive, with whatever lies its parts shall tell.
type archive struct {
	before  []byte // the archive
	members []member
	// torch has it written as PyTorch does: the sizes in the local headers are 0 and
	// follow the data, which begin at multiples of 64.
	torch bool
	// end changes the end of the directory.
	end func(*ending)
	// zip64 lies between the directory and its end.
	zip64 func(directory ending) []byte
	after []byte
}

// member is one file of an archive.
type member struct {
	name   string
	data   []byte
	method uint16
	flags  uint16
	// packed lies in the archive in place of data.
	packed []byte
	// local and central change what each of the two headers says.
	local, central func(*header)
	// at is the place of another member whose local header this one claims, from 1.
	at int
}

// header is that of a member, in either place.
type header struct {
	signature        string
	flags, method    uint16
	crc              uint32
	packed, size     uint32
	name             string
	extra            []byte
	external, offset uint32 // in the directory alone
}

// ending is the end of the directory.
type ending struct {
	disk, first  uint16
	here, all    uint16
	size, offset uint32
	comment      string
	commentSize  uint16
}

const (
	stored  = 0
	deflate = 8
	// What the flags of a member say.
	flagEncrypted  = 1
	flagDescriptor = 8
	flagUTF8       = 1 << 11
)

func (m *member) header() header {
	packed := m.packed
	if packed == nil {
		packed = m.data
	}
	return header{
		flags: m.flags, method: m.method, crc: crc32.ChecksumIEEE(m.data),
		packed: uint32(len(packed)), size: uint32(len(m.data)), name: m.name,
	}
}

func (a archive) bytes() []byte {
	b := join(a.before)
	var directory []byte
	var offsets []uint32
	for i := range a.members {
		m := &a.members[i]
		h := m.header()
		h.signature, h.offset = "PK\x01\x02", uint32(len(b)-len(a.before))
		if a.torch {
			h.flags |= flagDescriptor | flagUTF8
		}
		offsets = append(offsets, h.offset)
		if m.at > 0 {
			h.offset = offsets[m.at-1]
		} else {
			b = a.appendMember(b, m)
		}
		if m.central != nil {
			m.central(&h)
		}
		directory = append(directory, h.central()...)
	}
	e := ending{
		here: uint16(len(a.members)), all: uint16(len(a.members)),
		size: uint32(len(directory)), offset: uint32(len(b) - len(a.before)),
	}
	b = append(b, directory...)
	if a.zip64 != nil {
		b = append(b, a.zip64(e)...)
	}
	if a.end != nil {
		a.end(&e)
	}
	return join(b, e.bytes(), a.after)
}

// appendMember writes a local header and the data.
func (a archive) appendMember(b []byte, m *member) []byte {
	h := m.header()
	h.signature = "PK\x03\x04"
	packed := or(m.packed, m.data)
	var descriptor []byte
	if a.torch {
		descriptor = join("PK\x07\x08", h.crc, h.packed, h.size)
		h.flags |= flagDescriptor | flagUTF8
		h.crc, h.packed, h.size = 0, 0, 0
		pad := 64 - (len(b)+30+len(h.name)+4)%64
		h.extra = join("FB", uint16(pad), make([]byte, pad))
	}
	if m.local != nil {
		m.local(&h)
	}
	return append(b, join(h.common(), uint16(len(h.name)), uint16(len(h.extra)), h.name, h.extra, packed, descriptor)...)
}

// common is what both headers of a member begin with.
func (h *header) common() []byte {
	var made []byte
	if h.signature == "PK\x01\x02" {
		made = join(uint16(3<<8 | 20)) // by a Unix
	}
	return join(h.signature, made, uint16(20), h.flags, h.method, uint32(0x00210000), h.crc, h.packed, h.size)
}

func (h *header) central() []byte {
	return join(h.common(), uint16(len(h.name)), uint16(len(h.extra)), uint16(0), uint16(0), uint16(0),
		h.external, h.offset, h.name, h.extra)
}

func (e ending) bytes() []byte {
	if e.commentSize == 0 {
		e.commentSize = uint16(len(e.comment))
	}
	return join("PK\x05\x06", e.disk, e.first, e.here, e.all, e.size, e.offset, e.commentSize, e.comment)
}

// deflated packs a member as blocks that are stored, in the format of deflate.
func deflated(m member) member {
	m.method, m.packed = deflate, inStoredBlocks(m.data)
	return m
}

func inStoredBlocks(data []byte) []byte {
	var b []byte
	for {
		n := min(len(data), 0xffff)
		last := byte(0)
		if n == len(data) {
			last = 1
		}
		b = append(b, join(last, uint16(n), ^uint16(n), data[:n])...)
		if data = data[n:]; last == 1 {
			return b
		}
	}
}

// zeros is the deflate stream of prefix and then n zeros: fixed codes, 13 bits for
// every 258 zeros.
func zeros(prefix []byte, n int) []byte {
	var w bitWriter
	for _, c := range prefix {
		w.b = append(w.b, join(byte(0), uint16(1), ^uint16(1), c)...)
	}
	w.bits(0b011, 3) // the last block, with fixed codes
	w.code(0b00110000, 8)
	for n--; n >= 258; n -= 258 {
		w.code(0b11000101, 8) // 258 bytes
		w.bits(0, 5)          // from one byte before
	}
	for ; n > 0; n-- {
		w.code(0b00110000, 8)
	}
	w.bits(0, 7)
	return append(w.b, w.last...)
}

// bitWriter collects bits, the lowest first.
type bitWriter struct {
	b    []byte
	last []byte // the byte that is not full
	used int
}

func (w *bitWriter) bits(v, n int) {
	for i := range n {
		if w.used == 0 {
			w.last = []byte{0}
		}
		w.last[0] |= byte(v>>i&1) << w.used
		if w.used++; w.used == 8 {
			w.b, w.last, w.used = append(w.b, w.last[0]), nil, 0
		}
	}
}

// code writes a Huffman code, whose highest bit comes first.
func (w *bitWriter) code(v, n int) {
	for i := n - 1; i >= 0; i-- {
		w.bits(v>>i&1, 1)
	}
}

// plainZip is a checkpoint in an archive as Python's zipfile writes it. PyTorch
// reads it as it reads its own.
func plainZip(pickle []byte, more ...member) archive {
	return archive{members: append([]member{
		{name: "archive/data.pkl", data: pickle},
		{name: "archive/byteorder", data: []byte("little")},
		{name: "archive/data/0", data: fourFloats},
		{name: "archive/version", data: []byte("3\n")},
	}, more...)}
}

// torchZip is a checkpoint as torch.save writes it.
func torchZip(pickle []byte, more ...member) []byte {
	a := plainZip(pickle, more...)
	a.torch = true
	return a.bytes()
}

// torchScript is a module as torch.jit.save writes it, with a weight w. attribute
// is pickled beside it, and constants are the pickle of that name.
func torchScript(attribute, constants []byte) []byte {
	module := join(global("__torch__.Module"), ")\x81", dict(attribute, text("w"), weight(), text("training"), []byte{0x88}), "b")
	return archive{torch: true, members: []member{
		{name: "archive/data/0", data: fourFloats},
		{name: "archive/data.pkl", data: pickled(2, module)},
		deflated(member{name: "archive/code/__torch__.py", data: []byte("class Module(Module):\n  __parameters__ = [\"w\", ]\n  w : Tensor\n")}),
		{name: "archive/constants.pkl", data: or(constants, pickled(2, []byte(")")))},
		{name: "archive/version", data: []byte("3\n")},
		{name: "archive/byteorder", data: []byte("little")},
	}}.bytes()
}

// npz is an archive as numpy.savez writes it.
func npz(members ...member) archive { return archive{members: members} }

// npyMember is an array of an NPZ file: four floats if content is nil.
func npyMember(name string, content []byte) member {
	return member{name: name + ".npy", data: or(content, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", fourFloats))}
}
