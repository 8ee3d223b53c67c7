// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import (
	"encoding/binary"

	"github.com/modelfs/modelfs/loaders/internal/window"
)

// reader reads a FlatBuffer: tables, which lead to others by offsets of 32 bits
// from where they are, always forward; and before or behind each table a list of
// where its fields are (vtable).
type reader struct {
	*window.Window
}

// table is one table.
type table struct {
	at     int64
	size   int64 // of its own bytes
	vtable int64
	fields int64 // how many the vtable has
}

// vector is a number of elements, one behind the other.
type vector struct {
	at int64 // of the first
	n  int64
}

// table reads where the parts of a table are. A vtable is the number of its own
// bytes, of the table's, and for each field its place in the table.
func (r *reader) table(at int64) (table, error) {
	b, err := r.View(at, 4)
	if err != nil {
		return table{}, err
	}
	t := table{at: at, vtable: at - int64(int32(binary.LittleEndian.Uint32(b)))}
	if b, err = r.View(t.vtable, 4); err != nil {
		return table{}, err
	}
	own, size := int64(binary.LittleEndian.Uint16(b)), int64(binary.LittleEndian.Uint16(b[2:]))
	switch {
	case own < 4 || own%2 != 0 || own > r.Size()-t.vtable:
		return table{}, r.Errorf(t.vtable, "a vtable of %d bytes, %d are left", own, r.Size()-t.vtable)
	case size < 4 || size > r.Size()-at:
		return table{}, r.Errorf(t.vtable, "a table of %d bytes at byte %d, %d are left there", size, at, r.Size()-at)
	}
	t.size, t.fields = size, (own-4)/2
	return t, nil
}

// field is where a field of width bytes is, by its number in the schema; 0: it is
// not there, and has its default.
func (r *reader) field(t table, number, width int64) (int64, error) {
	if number >= t.fields {
		return 0, nil
	}
	at := t.vtable + 4 + 2*number
	in, err := r.U16(at)
	if err != nil || in == 0 {
		return 0, err
	}
	if in < 4 || int64(in)+width > t.size {
		return 0, r.Errorf(at, "the field %d lies at byte %d of a table of %d", number, in, t.size)
	}
	return t.at + int64(in), nil
}

// u32 is a field of 32 bits; 0 if it is not there.
func (r *reader) u32(t table, number int64) (uint32, error) {
	at, err := r.field(t, number, 4)
	if at == 0 {
		return 0, err
	}
	return r.U32(at)
}

// u64 is a field of 64 bits; 0 if it is not there.
func (r *reader) u64(t table, number int64) (uint64, error) {
	at, err := r.field(t, number, 8)
	if at == 0 {
		return 0, err
	}
	return r.U64(at)
}

// follow goes where an offset leads.
func (r *reader) follow(at int64) (int64, error) {
	offset, err := r.U32(at)
	if err != nil {
		return 0, err
	}
	if offset == 0 || int64(offset) > r.Size()-at-4 {
		return 0, r.Errorf(at, "an offset of %d, %d bytes are left", offset, r.Size()-at)
	}
	return at + int64(offset), nil
}

// vector is a field that leads to a vector of elements of width bytes; an empty one
// if it is not there.
func (r *reader) vector(t table, number, width int64) (vector, error) {
	at, err := r.field(t, number, 4)
	if at == 0 {
		return vector{}, err
	}
	if at, err = r.follow(at); err != nil {
		return vector{}, err
	}
	n, err := r.U32(at)
	if err != nil {
		return vector{}, err
	}
	if left := r.Size() - at - 4; int64(n) > left/width {
		return vector{}, r.Errorf(at, "a vector of %d elements of %d bytes, %d bytes are left", n, width, left)
	}
	return vector{at + 4, int64(n)}, nil
}

// element is the i-th table of a vector of tables.
func (r *reader) element(v vector, i int64) (table, error) {
	at, err := r.follow(v.at + 4*i)
	if err != nil {
		return table{}, err
	}
	return r.table(at)
}
