// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package cursor reads untrusted bytes from front to back with a small buffer. It
// knows where it is, and never takes a length from the bytes for granted: what
// does not fit into what is left is a malformed.Error, before anything is
// allocated for it.
package cursor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/modelfs/modelfs/loaders/malformed"
)

const bufferSize = 64 << 10

// Cursor is a place in a file. It is used by one goroutine.
type Cursor struct {
	format string
	r      io.ReaderAt
	end    int64 // nothing is read from here on
	ahead  int   // how many bytes are read at once
	at     int64 // of buf[0] in the file
	buf    []byte
	n      int // place in buf
}

// New returns a cursor at the file's first byte. end is the file's size, or where
// the part to be read ends.
func New(format string, r io.ReaderAt, end int64) *Cursor {
	return &Cursor{format: format, r: r, end: end, ahead: bufferSize}
}

// Pos is the offset of the next byte.
func (c *Cursor) Pos() int64 { return c.at + int64(c.n) }

// Left is how many bytes follow.
func (c *Cursor) Left() int64 { return c.end - c.Pos() }

// SetEnd moves the end; it must not lie before the next byte.
func (c *Cursor) SetEnd(end int64) {
	c.at, c.buf, c.n, c.end = c.Pos(), nil, 0, end
}

// ReadAhead makes the cursor read about n bytes at once, at most 64 KiB, which it
// does from the start: fewer for files whose headers lie far apart.
func (c *Cursor) ReadAhead(n int) { c.ahead = min(n, bufferSize) }

// Errorf is a finding at the next byte.
func (c *Cursor) Errorf(msg string, args ...any) error {
	return malformed.At(c.format, c.Pos(), msg, args...)
}

// fill makes the next need bytes lie in the buffer; need is at most bufferSize.
func (c *Cursor) fill(need int) error {
	if len(c.buf)-c.n >= need {
		return nil
	}
	if c.Left() < int64(need) {
		return c.Errorf("%d bytes are needed, %d are left", need, c.Left())
	}
	pos := c.Pos()
	size := min(int64(max(need, c.ahead)), c.end-pos)
	if int64(cap(c.buf)) < size {
		c.buf = make([]byte, size)
	}
	buf := c.buf[:size]
	got, err := c.r.ReadAt(buf, pos)
	if got < need {
		if err == nil || errors.Is(err, io.EOF) {
			return malformed.At(c.format, pos+int64(got), "the file ends here, %d bytes early", int64(need-got))
		}
		return fmt.Errorf("read at byte %d: %w", pos, err)
	}
	c.at, c.buf, c.n = pos, buf[:got], 0
	return nil
}

// Peek returns the next byte and stays.
func (c *Cursor) Peek() (byte, error) {
	if c.n < len(c.buf) {
		return c.buf[c.n], nil
	}
	if err := c.fill(1); err != nil {
		return 0, err
	}
	return c.buf[c.n], nil
}

// Byte returns the next byte.
func (c *Cursor) Byte() (byte, error) {
	b, err := c.Peek()
	if err == nil {
		c.n++
	}
	return b, err
}

// U32 returns a little-endian number.
func (c *Cursor) U32() (uint32, error) {
	if err := c.fill(4); err != nil {
		return 0, err
	}
	v := binary.LittleEndian.Uint32(c.buf[c.n:])
	c.n += 4
	return v, nil
}

// U64 returns a little-endian number.
func (c *Cursor) U64() (uint64, error) {
	if err := c.fill(8); err != nil {
		return 0, err
	}
	v := binary.LittleEndian.Uint64(c.buf[c.n:])
	c.n += 8
	return v, nil
}

// Bytes returns a copy of the next n bytes; n may come from the file.
func (c *Cursor) Bytes(n, limit uint64) ([]byte, error) {
	switch {
	case n > limit:
		return nil, c.Errorf("a length of %d is over the limit of %d", n, limit)
	case n > uint64(c.Left()):
		return nil, c.Errorf("a length of %d, %d bytes are left", n, c.Left())
	}
	out := make([]byte, 0, n)
	for uint64(len(out)) < n {
		step := min(int(n)-len(out), bufferSize)
		if err := c.fill(step); err != nil {
			return nil, err
		}
		out = append(out, c.buf[c.n:c.n+step]...)
		c.n += step
	}
	return out, nil
}

// Skip passes over n bytes; n may come from the file.
func (c *Cursor) Skip(n uint64) error {
	if n > uint64(c.Left()) {
		return c.Errorf("a length of %d, %d bytes are left", n, c.Left())
	}
	if n <= uint64(len(c.buf)-c.n) {
		c.n += int(n)
		return nil
	}
	c.at, c.buf, c.n = c.Pos()+int64(n), c.buf[:0], 0
	return nil
}
