// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"encoding/binary"
	"math"
)

// opcodes are those of Python's Lib/pickle.py, protocols 0 to 5. NEXT_BUFFER and
// READONLY_BUFFER (0x97, 0x98) need data from outside the pickle, which no file has.
var opcodes = [256]func(*machine) error{
	'.':  func(m *machine) error { m.done = true; return nil },
	0x80: (*machine).proto,
	0x95: (*machine).enterFrame,

	// The stack and the memo.
	'(':  (*machine).mark,
	'0':  (*machine).popOne,
	'1':  func(m *machine) error { _, err := m.popMark(); return err },
	'2':  (*machine).dup,
	'g':  func(m *machine) error { return m.byLine((*machine).pushMemo) },
	'h':  func(m *machine) error { return m.byNumber(1, (*machine).pushMemo) },
	'j':  func(m *machine) error { return m.byNumber(4, (*machine).pushMemo) },
	'p':  func(m *machine) error { return m.byLine((*machine).put) },
	'q':  func(m *machine) error { return m.byNumber(1, (*machine).put) },
	'r':  func(m *machine) error { return m.byNumber(4, (*machine).put) },
	0x94: func(m *machine) error { return m.put(uint32(m.memo.n)) },

	// Plain values.
	'N':  func(m *machine) error { return m.push(none{}) },
	0x88: func(m *machine) error { return m.push(true) },
	0x89: func(m *machine) error { return m.push(false) },
	'I':  (*machine).intLine,
	'L':  (*machine).longLine,
	'F':  (*machine).floatLine,
	'J':  func(m *machine) error { return m.small(4, func(n uint64) int64 { return int64(int32(n)) }) },
	'K':  func(m *machine) error { return m.small(1, func(n uint64) int64 { return int64(n) }) },
	'M':  func(m *machine) error { return m.small(2, func(n uint64) int64 { return int64(n) }) },
	'G':  (*machine).float,
	0x8a: func(m *machine) error { return m.long(1) },
	0x8b: func(m *machine) error { return m.long(4) },

	// Strings and bytes.
	'S':  func(m *machine) error { return m.textLine(true) },
	'V':  func(m *machine) error { return m.textLine(false) },
	'T':  func(m *machine) error { return m.text(4, oldString) },
	'U':  func(m *machine) error { return m.text(1, oldString) },
	'X':  func(m *machine) error { return m.text(4, unicode) },
	0x8c: func(m *machine) error { return m.text(1, unicode) },
	0x8d: func(m *machine) error { return m.text(8, unicode) },
	'B':  func(m *machine) error { return m.text(4, rawBytes) },
	'C':  func(m *machine) error { return m.text(1, rawBytes) },
	0x8e: func(m *machine) error { return m.text(8, rawBytes) },
	0x96: func(m *machine) error { return m.text(8, rawBytes) },

	// Containers.
	')':  func(m *machine) error { return m.push(emptyTuple) },
	't':  (*machine).tupleOfMark,
	0x85: func(m *machine) error { return m.tupleOf(1) },
	0x86: func(m *machine) error { return m.tupleOf(2) },
	0x87: func(m *machine) error { return m.tupleOf(3) },
	']':  (*machine).emptyList,
	'l':  (*machine).listOfMark,
	'a':  func(m *machine) error { return m.appendItems(false) },
	'e':  func(m *machine) error { return m.appendItems(true) },
	'}':  (*machine).emptyDict,
	'd':  (*machine).dictOfMark,
	's':  func(m *machine) error { return m.setItems(false) },
	'u':  func(m *machine) error { return m.setItems(true) },
	0x8f: (*machine).emptySet,
	0x90: (*machine).addItems,
	0x91: (*machine).frozenSet,

	// Globals, calls, and what comes from outside.
	'c':  (*machine).global,
	0x93: (*machine).stackGlobal,
	0x82: func(m *machine) error { return m.extension(1) },
	0x83: func(m *machine) error { return m.extension(2) },
	0x84: func(m *machine) error { return m.extension(4) },
	'R':  (*machine).reduce,
	0x81: (*machine).reduce, // NEWOBJ
	0x92: (*machine).newObjectEx,
	'i':  (*machine).inst,
	'o':  (*machine).obj,
	'b':  (*machine).build,
	'P':  (*machine).persistentLine,
	'Q':  (*machine).persistent,
}

// number reads a little-endian number of width bytes.
func (m *machine) number(width int) (uint64, error) {
	var b [8]byte
	for i := range width {
		c, err := m.Byte()
		if err != nil {
			return 0, err
		}
		b[i] = c
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

func (m *machine) proto() error {
	v, err := m.Byte()
	if err == nil && v > maxProtocol {
		err = m.errorf("a pickle of protocol %d; 0 to %d are read", v, maxProtocol)
	}
	return err
}

func (m *machine) enterFrame() error {
	n, err := m.number(8)
	switch {
	case err != nil:
		return err
	case m.frame != 0:
		return m.errorf("a frame within a frame")
	case n == 0 || n > uint64(m.Left()):
		return m.errorf("a frame of %d bytes, %d are left", n, m.Left())
	}
	m.frame = m.Pos() + int64(n)
	return nil
}

func (m *machine) mark() error {
	if len(m.marks) >= maxStack {
		return m.errorf("over %d marks are on the stack", maxStack)
	}
	if len(m.marks) == cap(m.marks) {
		n := max(16, 2*cap(m.marks))
		if err := m.charge(8 * int64(n)); err != nil {
			return err
		}
		m.marks = append(make([]int, 0, n), m.marks...)
	}
	m.marks = append(m.marks, len(m.stack))
	return nil
}

// popOne drops a value, or a mark that has none above it, as Python does.
func (m *machine) popOne() error {
	if n := len(m.marks); n > 0 && len(m.stack) == m.bottom() {
		m.marks = m.marks[:n-1]
		return nil
	}
	_, err := m.pop()
	return err
}

func (m *machine) dup() error {
	v, err := m.top()
	if err != nil {
		return err
	}
	return m.push(v)
}

// byNumber does something with a number of width bytes.
func (m *machine) byNumber(width int, f func(*machine, uint32) error) error {
	n, err := m.number(width)
	if err != nil {
		return err
	}
	return f(m, uint32(n))
}

func (m *machine) small(width int, signed func(uint64) int64) error {
	n, err := m.number(width)
	if err != nil {
		return err
	}
	return m.pushInt(signed(n))
}

// pushInt pushes a number; Go has the small ones once.
func (m *machine) pushInt(n int64) error {
	if n < 0 || n > 255 {
		if err := m.charge(8); err != nil {
			return err
		}
	}
	return m.push(n)
}

func (m *machine) float() error {
	b, err := m.Bytes(8, 8)
	if err != nil {
		return err
	}
	if err := m.charge(8); err != nil {
		return err
	}
	return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
}

// maxLong is how many bytes of a long number are kept: the magic number has 10.
const maxLong = 16

// long reads a number in two's complement of a length that is given in width bytes.
func (m *machine) long(width int) error {
	n, err := m.number(width)
	if err != nil {
		return err
	}
	if n > math.MaxInt32 {
		return m.errorf("a number of %d bytes", int32(n))
	}
	if n > maxLong {
		if err := m.Skip(n); err != nil {
			return err
		}
		return m.pushBlob("a long number", n, nil)
	}
	b, err := m.Bytes(n, maxLong)
	if err != nil {
		return err
	}
	if n > 8 {
		return m.pushBlob("a long number", n, b)
	}
	var all [8]byte
	if n > 0 && b[n-1]&0x80 != 0 {
		all = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
	}
	copy(all[:], b)
	return m.pushInt(int64(binary.LittleEndian.Uint64(all[:])))
}

func (m *machine) pushBlob(what string, n uint64, head []byte) error {
	if err := m.charge(int64(64 + cap(head))); err != nil {
		return err
	}
	return m.push(&blob{what: what, n: int64(n), head: head})
}
