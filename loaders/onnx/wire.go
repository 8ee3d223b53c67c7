// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"encoding/binary"

	"github.com/modelfs/modelfs/loaders/internal/window"
)

// The wire types of protobuf, as in its encoding document. Groups (3 and 4) are
// none of ONNX's.
const (
	wireVarint = 0
	wireI64    = 1
	wireBytes  = 2
	wireI32    = 5
)

// maxVarint is the longest one, in bytes.
const maxVarint = 10

// maxFields bounds the time that a file takes: a field is not read but passed over
// where nothing of interest lies in it, so that a model of a million nodes has a few
// times as many.
const maxFields = 16 << 20

// span is a part of the file.
type span struct{ at, end int64 }

func (s span) size() int64 { return s.end - s.at }

// there says whether something was found: what lies in a message lies behind the
// file's first byte.
func (s span) there() bool { return s.at > 0 }

// field is one field of a message.
type field struct {
	number uint64
	wire   byte
	at     int64  // of its tag
	value  span   // without tag and length
	n      uint64 // the value of a varint
}

// scanner reads messages.
type scanner struct {
	*window.Window
	fields int // how many were read
}

// varint reads a number that ends before end, and says where.
func (s *scanner) varint(at, end int64) (v uint64, after int64, err error) {
	b, err := s.View(at, int(min(maxVarint, end-at)))
	if err != nil {
		return 0, 0, err
	}
	v, n := binary.Uvarint(b)
	switch {
	case n > 0:
		return v, at + int64(n), nil
	case len(b) < maxVarint:
		return 0, 0, s.Errorf(at, "a number does not end before its message does, at byte %d", end)
	}
	return 0, 0, s.Errorf(at, "a number of over 64 bits")
}

// next reads the field at a place of a message, but not its value if that is longer
// than a number.
func (s *scanner) next(at, end int64) (field, error) {
	if s.fields++; s.fields > maxFields {
		return field{}, s.Errorf(at, "over %d fields", maxFields)
	}
	// Tag and length of nearly every field are in one view.
	b, err := s.View(at, int(min(window.MaxView, end-at)))
	if err != nil {
		return field{}, err
	}
	tag, n := binary.Uvarint(b)
	after := at + int64(n)
	if n <= 0 {
		if tag, after, err = s.varint(at, end); err != nil {
			return field{}, err
		}
	}
	f := field{number: tag >> 3, wire: byte(tag & 7), at: at, value: span{after, after}}
	if f.number == 0 || f.number >= 1<<29 {
		return field{}, s.Errorf(at, "a field of the number %d", f.number)
	}
	size := uint64(0)
	switch f.wire {
	case wireVarint:
		if f.n, n = binary.Uvarint(b[after-at:]); n > 0 {
			f.value.end = after + int64(n)
			return f, nil
		}
		f.n, f.value.end, err = s.varint(after, end)
		return f, err
	case wireI64:
		size = 8
	case wireI32:
		size = 4
	case wireBytes:
		if size, n = binary.Uvarint(b[after-at:]); n > 0 {
			f.value.at = after + int64(n)
		} else if size, f.value.at, err = s.varint(after, end); err != nil {
			return field{}, err
		}
	default:
		return field{}, s.Errorf(at, "the field %d is of the wire type %d, which ONNX does not have", f.number, f.wire)
	}
	if size > uint64(end-f.value.at) {
		return field{}, s.Errorf(at, "the field %d has a length of %d, %d bytes are left of its message", f.number, size, end-f.value.at)
	}
	f.value.end = f.value.at + int64(size)
	return f, nil
}

// each calls do for each field of a message.
func (s *scanner) each(m span, do func(field) error) error {
	for at := m.at; at < m.end; {
		f, err := s.next(at, m.end)
		if err != nil {
			return err
		}
		if err := do(f); err != nil {
			return err
		}
		at = f.value.end
	}
	return nil
}

// is says whether a field has the wire type that its number has in onnx.proto.
func (s *scanner) is(f field, wire byte) error {
	if f.wire != wire {
		return s.Errorf(f.at, "the field %d is of the wire type %d instead of %d", f.number, f.wire, wire)
	}
	return nil
}

// seen is which fields of a message were there, of those that may be there once.
// protobuf has the last one win, or merges them; no writer needs either.
type seen uint32

// once says whether a field has its wire type and is there for the first time.
func (s *scanner) once(f field, wire byte, was *seen) error {
	if err := s.is(f, wire); err != nil {
		return err
	}
	if *was>>f.number&1 != 0 {
		return s.Errorf(f.at, "the field %d is there twice", f.number)
	}
	*was |= 1 << f.number
	return nil
}

// text is a copy of a string.
func (s *scanner) text(m span, limit uint64) (string, error) {
	if m.size() == 0 {
		return "", nil
	}
	if uint64(m.size()) <= limit { // nearly all lie in one page
		if b, err := s.Chunk(m.at, m.end); err != nil || int64(len(b)) == m.size() {
			return string(b), err
		}
	}
	b, err := s.Bytes(m.at, uint64(m.size()), limit)
	return string(b), err
}

// equals says whether a string is another, which is short.
func (s *scanner) equals(m span, to string) (bool, error) {
	if m.size() != int64(len(to)) || to == "" {
		return m.size() == int64(len(to)), nil
	}
	b, err := s.View(m.at, len(to))
	return string(b) == to, err
}
