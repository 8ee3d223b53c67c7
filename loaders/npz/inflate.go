// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"bufio"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/loaders/npy"
)

// maxHeaders is how much is inflated for the headers of n members together: a few
// bytes can be a long header, and be there often. NumPy's have 128 bytes.
func maxHeaders(n int) int64 { return 1<<20 + int64(n)<<10 }

// inflater inflates the beginnings of members, one after the other.
type inflater struct {
	src   *bufio.Reader
	z     io.ReadCloser
	buf   []byte // what was inflated of this member
	total int64  // and of all before it
	limit int64  // of all
	err   error  // of inflating
}

// header reads the header of a deflated array, and checks that the member has the
// array's bytes and no others.
func (i *inflater) header(r *reader, m member) (npy.Header, error) {
	section := io.NewSectionReader(r, m.at, m.packed)
	if i.z == nil {
		i.src = bufio.NewReaderSize(section, 4<<10)
		i.z = flate.NewReader(i.src)
	} else {
		i.src.Reset(section)
		if err := i.z.(flate.Resetter).Reset(i.src, nil); err != nil {
			return npy.Header{}, err
		}
	}
	i.total += int64(len(i.buf))
	i.buf, i.err = i.buf[:0], nil
	h, err := npy.Read(i, 0, m.size)
	switch {
	case i.err != nil:
		return h, malformed.At(format, m.at, "the member %.100q: %v", m.name, i.err)
	case err != nil:
		return h, m.wrong(err)
	case h.Data+h.NBytes != m.size:
		return h, malformed.At(format, m.at, "the member %.100q has %d bytes, its array %d with its header", m.name, m.size, h.Data+h.NBytes)
	}
	return h, nil
}

// ReadAt inflates as far as it must.
func (i *inflater) ReadAt(p []byte, off int64) (int, error) {
	for begin, end := len(i.buf), int(off)+len(p); begin < end; begin = len(i.buf) {
		if i.total+int64(end) > i.limit {
			i.err = fmt.Errorf("the headers up to it have over %d bytes", i.limit)
			return 0, i.err
		}
		i.buf = append(i.buf, make([]byte, end-begin)...)
		n, err := io.ReadFull(i.z, i.buf[begin:])
		i.buf = i.buf[:begin+n]
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			i.err = fmt.Errorf("it does not inflate: %w", err)
			return 0, i.err
		}
	}
	if off >= int64(len(i.buf)) {
		return 0, io.EOF
	}
	n := copy(p, i.buf[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Make inflates the array. What it finds wrong with the bytes is a malformed.Error.
func (m member) Make(ctx context.Context, file io.ReaderAt, dst []byte) error {
	r := &reader{r: file, size: m.at + m.packed, left: math.MaxInt64}
	s := &stream{z: flate.NewReader(bufio.NewReaderSize(io.NewSectionReader(r, m.at, m.packed), 64<<10))}
	err := m.header.Fill(ctx, dst, s)
	if err == nil {
		err = s.finish(m)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case r.err != nil:
		return fmt.Errorf("read the member %.100q: %w", m.name, r.err)
	}
	return malformed.At(format, m.at, "the member %.100q does not inflate: %v", m.name, err)
}

// stream is what a member inflates to, read once and front to back.
type stream struct {
	z   io.Reader
	at  int64
	crc uint32
}

// ReadAt reads at or behind the place where the last read ended.
func (s *stream) ReadAt(p []byte, off int64) (int, error) {
	if off < s.at {
		return 0, fmt.Errorf("byte %d is behind byte %d in the stream", off, s.at)
	}
	if err := s.skip(off - s.at); err != nil {
		return 0, err
	}
	return s.read(p)
}

func (s *stream) read(p []byte) (int, error) {
	n, err := io.ReadFull(s.z, p)
	s.at += int64(n)
	s.crc = crc32.Update(s.crc, crc32.IEEETable, p[:n])
	return n, err
}

// skip passes over n bytes: a header.
func (s *stream) skip(n int64) error {
	var b [512]byte
	for n > 0 {
		got, err := s.read(b[:min(n, int64(len(b)))])
		if err != nil {
			return err
		}
		n -= int64(got)
	}
	return nil
}

// finish reads the end, and checks length and checksum.
func (s *stream) finish(m member) error {
	if err := s.skip(m.size - s.at); err != nil {
		return err
	}
	var b [1]byte
	switch n, err := io.ReadFull(s.z, b[:]); {
	case n > 0:
		return fmt.Errorf("it has more than %d bytes", m.size)
	case !errors.Is(err, io.EOF):
		return err
	case s.crc != m.crc:
		return fmt.Errorf("its checksum is %08x instead of %08x", s.crc, m.crc)
	}
	return nil
}
