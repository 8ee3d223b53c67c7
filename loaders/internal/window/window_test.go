// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package window

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/loaders/malformed"
)

const pageSize = 32

func over(b []byte) *Window { return New("TEST", bytes.NewReader(b), int64(len(b)), 4, pageSize) }

// pattern is n bytes, no eight of which come twice.
func pattern(n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(i+1)*0x9e3779b97f4a7c15)
	}
	return b[:n]
}

// TestPlaces reads a file of some pages at places in any order, and compares with
// the file.
func TestPlaces(t *testing.T) {
	file := pattern(20*pageSize + 11)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, r := range []io.ReaderAt{bytes.NewReader(file), few{bytes.NewReader(file), 5}} {
		w := New("TEST", r, int64(len(file)), 4, pageSize)
		for range 20_000 {
			at := int64(rng.IntN(len(file)))
			rest := file[at:]
			switch n := rng.IntN(MaxView + 1); rng.IntN(6) {
			case 0:
				n = min(n, len(rest))
				if b, err := w.View(at, n); err != nil || !bytes.Equal(b, rest[:n]) {
					t.Fatalf("%d bytes from %d: %x, %v", n, at, b, err)
				}
			case 1:
				if v, err := w.U16(at); len(rest) >= 2 && (err != nil || v != binary.LittleEndian.Uint16(rest)) {
					t.Fatalf("byte %d: %x, %v", at, v, err)
				}
			case 2:
				if v, err := w.U32(at); len(rest) >= 4 && (err != nil || v != binary.LittleEndian.Uint32(rest)) {
					t.Fatalf("byte %d: %x, %v", at, v, err)
				}
			case 3:
				if v, err := w.U64(at); len(rest) >= 8 && (err != nil || v != binary.LittleEndian.Uint64(rest)) {
					t.Fatalf("byte %d: %x, %v", at, v, err)
				}
			case 4:
				end := at + 1 + int64(rng.IntN(len(rest)))
				b, err := w.Chunk(at, end)
				if err != nil || len(b) == 0 || int64(len(b)) > end-at || !bytes.Equal(b, rest[:len(b)]) {
					t.Fatalf("byte %d to %d: %x, %v", at, end, b, err)
				}
			case 5:
				n := rng.IntN(len(rest))
				if b, err := w.Bytes(at, uint64(n), math.MaxUint64); err != nil || !bytes.Equal(b, rest[:n]) {
					t.Fatalf("%d bytes from %d: %v", n, at, err)
				}
			}
		}
	}
}

// few gives few bytes at once, and an error with them.
type few struct {
	r io.ReaderAt
	n int
}

func (f few) ReadAt(p []byte, off int64) (int, error) {
	n, _ := f.r.ReadAt(p[:min(len(p), f.n)], off)
	return n, iotest.ErrTimeout
}

// TestOutside: what does not lie in the file is a finding, at a byte of the file.
func TestOutside(t *testing.T) {
	for name, c := range map[string]struct {
		read func(*Window) error
		at   int64
		msg  string
	}{
		"view":       {func(w *Window) error { _, err := w.View(3, 6); return err }, 3, "6 bytes are needed, 5 are left"},
		"at the end": {func(w *Window) error { _, err := w.Byte(8); return err }, 8, "1 bytes are needed, 0 are left"},
		"behind it":  {func(w *Window) error { _, err := w.U16(9); return err }, 8, "2 bytes are needed, 0 are left"},
		"far behind": {func(w *Window) error { _, err := w.U32(math.MaxInt64); return err }, 8, "4 bytes are needed, 0 are left"},
		"before it":  {func(w *Window) error { _, err := w.U64(-1); return err }, 0, "8 bytes are needed, 8 are left"},
		"far before": {func(w *Window) error { _, err := w.U64(math.MinInt64); return err }, 0, "8 bytes are needed, 0 are left"},
		"bytes":      {func(w *Window) error { _, err := w.Bytes(1, 8, 100); return err }, 1, "a length of 8, 7 bytes are left"},
		"bytes 2^63": {func(w *Window) error { _, err := w.Bytes(1, 1<<63, math.MaxUint64); return err }, 1, "a length of 9223372036854775808, 7 bytes are left"},
		"bytes at 9": {func(w *Window) error { _, err := w.Bytes(9, 0, 100); return err }, 8, "a length of 0, 0 bytes are left"},
		"bytes at -": {func(w *Window) error { _, err := w.Bytes(-9, 1, 100); return err }, 0, "a length of 1, 8 bytes are left"},
		"limit":      {func(w *Window) error { _, err := w.Bytes(0, 5, 4); return err }, 0, "a length of 5 is over the limit of 4"},
	} {
		t.Run(name, func(t *testing.T) {
			w := over([]byte("01234567"))
			if _, err := w.View(0, 8); err != nil {
				t.Fatal(err)
			}
			var wrong *malformed.Error
			if err := c.read(w); !errors.As(err, &wrong) || *wrong != (malformed.Error{Format: "TEST", Offset: c.at, Msg: c.msg}) {
				t.Errorf("%v, want at byte %d: %s", err, c.at, c.msg)
			}
		})
	}
}

// TestShortFile: the file ends before its size says.
func TestShortFile(t *testing.T) {
	file := pattern(pageSize + 3)
	for n := range file {
		w := New("TEST", bytes.NewReader(file[:n]), 1<<40, 4, pageSize)
		_, err := w.View(pageSize-5, 8)
		var wrong *malformed.Error
		if !errors.As(err, &wrong) || wrong.Offset != int64(n) && int64(n) > pageSize-5 {
			t.Errorf("%d bytes: %v", n, err)
		}
		if n >= 8 {
			if v, err := w.U64(0); err != nil || v != binary.LittleEndian.Uint64(file) {
				t.Errorf("%d bytes: %x, %v", n, v, err)
			}
		}
	}
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// TestReadErrors: an error of reading is no finding, and a later call reads again.
func TestReadErrors(t *testing.T) {
	fails := true
	w := New("TEST", readerAt(func(p []byte, _ int64) (int, error) {
		if fails {
			return 0, iotest.ErrTimeout
		}
		return copy(p, "01234567"), io.EOF
	}), 100, 4, pageSize)
	_, err := w.U64(64)
	var wrong *malformed.Error
	if !errors.Is(err, iotest.ErrTimeout) || errors.As(err, &wrong) || err.Error() != "read at byte 64: timeout" {
		t.Errorf("%v", err)
	}
	fails = false
	if b, err := w.View(64, 8); err != nil || string(b) != "01234567" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestReads: a page is read once, and pages are as large as the file needs them.
func TestReads(t *testing.T) {
	calls := 0
	w := New("TEST", readerAt(func(p []byte, _ int64) (int, error) { calls++; return len(p), nil }), 1<<40, 4, pageSize)
	for at := range int64(4 * pageSize) {
		if _, err := w.Byte(1<<39 + at); err != nil {
			t.Fatal(err)
		}
	}
	for at := int64(4*pageSize) - 1; at >= 0; at-- {
		if _, err := w.Byte(1<<39 + at); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 4 {
		t.Errorf("%d reads of 4 pages", calls)
	}
	if n := hostile.Allocated(4<<10, func() { _, _ = New("TEST", bytes.NewReader(make([]byte, 10)), 10, 4, 64<<10).U64(0) }); n > 4<<10 {
		t.Errorf("a file of 10 bytes took %d", n)
	}
}
