// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package window

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// MaxView is the most that View gives at once.
const MaxView = 16

// Window is a file through its pages. It is used by one goroutine.
type Window struct {
	format string
	r      io.ReaderAt
	size   int64
	page   int64  // a page's size
	shift  uint   // its logarithm
	pages  []page // a part of the file has one place here, which others share
	joined [MaxView]byte
}

// page holds the bytes from begin on, as far as they were read.
type page struct {
	begin int64
	buf   []byte
}

// New returns a window on a file of size bytes, with n pages, each of page bytes:
// both powers of two, page at least MaxView.
func New(format string, r io.ReaderAt, size int64, n int, pageSize int64) *Window {
	return &Window{format: format, r: r, size: size, page: pageSize, shift: uint(bits.TrailingZeros64(uint64(pageSize))), pages: make([]page, n)}
}

// of is the page's place.
func (w *Window) of(at int64) *page {
	return &w.pages[uint64(at)>>w.shift&uint64(len(w.pages)-1)]
}

// Size is the file's.
func (w *Window) Size() int64 { return w.size }

// Errorf is a finding at a byte, which is moved into the file if it lies outside.
func (w *Window) Errorf(at int64, msg string, args ...any) error {
	return malformed.At(w.format, max(0, min(at, w.size)), msg, args...)
}

// View returns n bytes, at most MaxView, at an offset that may come from the file.
// They stay as they are until the next call.
func (w *Window) View(at int64, n int) ([]byte, error) {
	i := at & (w.page - 1)
	if p := w.of(at); p.begin == at-i && int(i)+n <= len(p.buf) {
		return p.buf[i : int(i)+n], nil // the usual case
	}
	if at < 0 || at > w.size || int64(n) > w.size-at {
		return nil, w.Errorf(at, "%d bytes are needed, %d are left", n, max(0, min(w.size-at, w.size)))
	}
	for got := 0; got < n; {
		b, err := w.load(at+int64(got), min(int64(n-got), w.page-(at+int64(got))&(w.page-1)))
		if err != nil {
			return nil, err
		}
		if got == 0 && len(b) >= n {
			return b[:n], nil
		}
		got += copy(w.joined[got:n], b)
	}
	return w.joined[:n], nil
}

// Chunk returns some of the bytes from at to end, at least one of them; at lies
// before end, and end within the file. They stay as they are until the next call.
func (w *Window) Chunk(at, end int64) ([]byte, error) {
	b, err := w.load(at, 1)
	return b[:min(int64(len(b)), end-at)], err
}

// load returns what is there of a page from at on, at least need bytes, which lie in
// one page and within the file.
func (w *Window) load(at, need int64) ([]byte, error) {
	begin := at &^ (w.page - 1)
	full := min(w.page, w.size-begin)
	p := w.of(at)
	if p.begin != begin || p.buf == nil {
		if int64(cap(p.buf)) < full {
			p.buf = make([]byte, 0, full)
		}
		p.begin, p.buf = begin, p.buf[:0]
	}
	for int64(len(p.buf)) < at-begin+need {
		n, err := w.r.ReadAt(p.buf[len(p.buf):full], begin+int64(len(p.buf)))
		p.buf = p.buf[:len(p.buf)+n]
		switch have := begin + int64(len(p.buf)); {
		case n > 0:
		case err == nil || errors.Is(err, io.EOF):
			return nil, malformed.At(w.format, have, "the file ends here, %d bytes early", at+need-have)
		default:
			return nil, fmt.Errorf("read at byte %d: %w", have, err)
		}
	}
	return p.buf[at-begin:], nil
}

// Bytes returns a copy of n bytes; at and n may come from the file.
func (w *Window) Bytes(at int64, n, limit uint64) ([]byte, error) {
	switch {
	case n > limit:
		return nil, w.Errorf(at, "a length of %d is over the limit of %d", n, limit)
	case at < 0 || at > w.size || n > uint64(w.size-at):
		return nil, w.Errorf(at, "a length of %d, %d bytes are left", n, max(0, min(w.size-at, w.size)))
	}
	out := make([]byte, 0, n)
	for end := at + int64(n); at < end; {
		b, err := w.Chunk(at, end)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
		at += int64(len(b))
	}
	return out, nil
}

// Byte returns the byte at an offset that may come from the file.
func (w *Window) Byte(at int64) (byte, error) {
	b, err := w.View(at, 1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// U16 returns a little-endian number.
func (w *Window) U16(at int64) (uint16, error) {
	b, err := w.View(at, 2)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint16(b), nil
}

// U32 returns a little-endian number.
func (w *Window) U32(at int64) (uint32, error) {
	b, err := w.View(at, 4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// U64 returns a little-endian number.
func (w *Window) U64(at int64) (uint64, error) {
	b, err := w.View(at, 8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}
