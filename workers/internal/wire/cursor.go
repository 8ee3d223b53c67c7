// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// cursor reads the wire format from bytes that lie in several buffers.
type cursor struct {
	buffers mem.BufferSlice
	place
	data []byte // of the buffer at place
	left int    // bytes from place to the end
}

// place is a byte: a buffer, and an offset in it.
type place struct{ buffer, offset int }

func newCursor(b mem.BufferSlice) *cursor {
	c := &cursor{buffers: b, left: b.Len()}
	if len(b) > 0 {
		c.data = b[0].ReadOnlyData()
	}
	return c
}

// window is what of the current buffer is left, and not nothing: c.left is not 0.
func (c *cursor) window() []byte {
	for c.offset == len(c.data) {
		c.buffer++
		c.offset, c.data = 0, c.buffers[c.buffer].ReadOnlyData()
	}
	return c.data[c.offset:]
}

func (c *cursor) advance(n int) {
	c.offset += n
	c.left -= n
}

// varint reads a number of at most ten bytes.
func (c *cursor) varint() (uint64, error) {
	if c.left == 0 {
		return 0, ErrMalformed
	}
	if w := c.window(); len(w) >= 10 || len(w) >= c.left || w[0] < 0x80 {
		v, n := protowire.ConsumeVarint(w[:min(len(w), c.left)])
		if n < 0 {
			return 0, ErrMalformed
		}
		c.advance(n)
		return v, nil
	}
	var gathered [10]byte
	n := 0
	for n < len(gathered) && c.left > 0 {
		gathered[n] = c.window()[0]
		c.advance(1)
		n++
		if gathered[n-1] < 0x80 {
			break
		}
	}
	v, used := protowire.ConsumeVarint(gathered[:n])
	if used != n {
		return 0, ErrMalformed
	}
	return v, nil
}

// tag reads a field's number and type.
func (c *cursor) tag() (protowire.Number, protowire.Type, error) {
	v, err := c.varint()
	if err != nil {
		return 0, 0, err
	}
	if n := v >> 3; n < uint64(protowire.MinValidNumber) || n > uint64(protowire.MaxValidNumber) {
		return 0, 0, ErrMalformed
	}
	return protowire.Number(v >> 3), protowire.Type(v & 7), nil
}

// length reads how many bytes follow; they are there.
func (c *cursor) length() (int, error) {
	v, err := c.varint()
	if err != nil {
		return 0, err
	}
	if v > uint64(c.left) {
		return 0, ErrMalformed
	}
	return int(v), nil
}

// skip passes over bytes.
func (c *cursor) skip(n int) error {
	if n > c.left {
		return ErrMalformed
	}
	for n > 0 {
		m := min(n, len(c.window()))
		c.advance(m)
		n -= m
	}
	return nil
}

// take passes over bytes that are there and keeps them, by reference.
func (c *cursor) take(n int) Raw {
	var out Raw
	for n > 0 {
		m := min(n, len(c.window()))
		out = append(out, c.buffers[c.buffer].Slice(c.offset, c.offset+m))
		c.advance(m)
		n -= m
	}
	return out
}

// between appends the bytes from a place to another, in pieces that live as long as
// the buffers.
func (c *cursor) between(out [][]byte, from, to place) [][]byte {
	for i := from.buffer; i <= to.buffer && i < len(c.buffers); i++ {
		data := c.buffers[i].ReadOnlyData()
		if i == to.buffer {
			data = data[:to.offset]
		}
		if i == from.buffer {
			data = data[from.offset:]
		}
		if len(data) > 0 {
			out = append(out, data)
		}
	}
	return out
}
