// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cursor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/loaders/malformed"
)

func over(b []byte) *Cursor { return New("TEST", bytes.NewReader(b), int64(len(b))) }

// pattern is n bytes, no eight of which come twice.
func pattern(n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(i)*0x9e3779b97f4a7c15)
	}
	return b[:n]
}

// TestSteps reads a file of some buffers in steps of every kind, and compares with
// the file.
func TestSteps(t *testing.T) {
	file := pattern(5*bufferSize + 123)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		c := over(file)
		for c.Left() > 0 {
			at, rest := c.Pos(), file[c.Pos():]
			switch step := rng.IntN(6); {
			case step == 0:
				b, err := c.Peek()
				again, _ := c.Byte()
				if err != nil || b != rest[0] || again != b {
					t.Fatalf("byte %d: %d and %d, %v", at, b, again, err)
				}
			case step == 1 && len(rest) >= 4:
				if v, err := c.U32(); err != nil || v != binary.LittleEndian.Uint32(rest) {
					t.Fatalf("byte %d: %x, %v", at, v, err)
				}
			case step == 2 && len(rest) >= 8:
				if v, err := c.U64(); err != nil || v != binary.LittleEndian.Uint64(rest) {
					t.Fatalf("byte %d: %x, %v", at, v, err)
				}
			case step == 3:
				n := min(rng.IntN(2*bufferSize), len(rest))
				if b, err := c.Bytes(uint64(n), math.MaxUint64); err != nil || !bytes.Equal(b, rest[:n]) {
					t.Fatalf("%d bytes from %d: %v", n, at, err)
				}
			case step == 4:
				if err := c.Skip(uint64(min(rng.IntN(2*bufferSize), len(rest)))); err != nil {
					t.Fatal(err)
				}
			case step == 5 && rng.IntN(10) == 0:
				c.SetEnd(int64(len(file)))
			}
			if c.Pos()+c.Left() != int64(len(file)) {
				t.Fatalf("%d bytes follow byte %d of %d", c.Left(), c.Pos(), len(file))
			}
		}
	}
}

func TestCopies(t *testing.T) {
	c := over([]byte("abcdef"))
	b, err := c.Bytes(3, 3)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 'X'
	if again, err := c.Bytes(3, 3); err != nil || string(again) != "def" || string(b) != "Xbc" {
		t.Errorf("%q and %q, %v", b, again, err)
	}
}

// TestTooMuch asks for more than is left: the cursor stays where it is.
func TestTooMuch(t *testing.T) {
	for name, c := range map[string]struct {
		read func(*Cursor) error
		at   int64
		msg  string
	}{
		"byte":       {func(c *Cursor) error { _ = c.Skip(8); _, err := c.Byte(); return err }, 8, "1 bytes are needed, 0 are left"},
		"peek":       {func(c *Cursor) error { _ = c.Skip(8); _, err := c.Peek(); return err }, 8, "1 bytes are needed, 0 are left"},
		"u32":        {func(c *Cursor) error { _ = c.Skip(5); _, err := c.U32(); return err }, 5, "4 bytes are needed, 3 are left"},
		"u64":        {func(c *Cursor) error { _ = c.Skip(1); _, err := c.U64(); return err }, 1, "8 bytes are needed, 7 are left"},
		"bytes":      {func(c *Cursor) error { _, err := c.Bytes(9, 100); return err }, 0, "a length of 9, 8 bytes are left"},
		"bytes 2^63": {func(c *Cursor) error { _, err := c.Bytes(1<<63, math.MaxUint64); return err }, 0, "a length of 9223372036854775808, 8 bytes are left"},
		"limit":      {func(c *Cursor) error { _, err := c.Bytes(5, 4); return err }, 0, "a length of 5 is over the limit of 4"},
		"skip":       {func(c *Cursor) error { return c.Skip(9) }, 0, "a length of 9, 8 bytes are left"},
		"skip 2^64":  {func(c *Cursor) error { _ = c.Skip(2); return c.Skip(math.MaxUint64) }, 2, "a length of 18446744073709551615, 6 bytes are left"},
		"end moved":  {func(c *Cursor) error { c.SetEnd(3); _, err := c.U32(); return err }, 0, "4 bytes are needed, 3 are left"},
		"errorf":     {func(c *Cursor) error { _ = c.Skip(2); return c.Errorf("%d", 7) }, 2, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			cur := over([]byte("01234567"))
			var w *malformed.Error
			if err := c.read(cur); !errors.As(err, &w) || *w != (malformed.Error{Format: "TEST", Offset: c.at, Msg: c.msg}) {
				t.Errorf("%v, want at byte %d: %s", err, c.at, c.msg)
			}
			if cur.Pos() != c.at {
				t.Errorf("it is at byte %d, want %d", cur.Pos(), c.at)
			}
		})
	}
}

// TestShortFile: the file ends before its size says.
func TestShortFile(t *testing.T) {
	for n := range 8 {
		c := New("TEST", strings.NewReader("01234567"[:n]), 100)
		_, err := c.U64()
		var w *malformed.Error
		if !errors.As(err, &w) || w.Offset != int64(n) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	c := New("TEST", bytes.NewReader(make([]byte, bufferSize+10)), 1<<40)
	_, err := c.Bytes(bufferSize+100, 1<<40)
	if want := "TEST: at byte 65546: the file ends here, 90 bytes early"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// TestReadErrors: an error of reading is no finding; bytes that come with it count.
func TestReadErrors(t *testing.T) {
	c := New("TEST", readerAt(func([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }), 100)
	_, err := c.U64()
	var w *malformed.Error
	if !errors.Is(err, iotest.ErrTimeout) || errors.As(err, &w) || err.Error() != "read at byte 0: timeout" {
		t.Errorf("%v", err)
	}
	c = New("TEST", readerAt(func(p []byte, _ int64) (int, error) { return copy(p, "01234567"), iotest.ErrTimeout }), 100)
	if _, err := c.U64(); err != nil {
		t.Error(err)
	}
	if _, err := c.Bytes(9, 9); !errors.Is(err, iotest.ErrTimeout) || c.Pos() != 8 {
		t.Errorf("at byte %d: %v", c.Pos(), err)
	}
}

// TestSkipReadsNothing, and the buffer is no larger than the file.
func TestSkipReadsNothing(t *testing.T) {
	read := 0
	c := New("TEST", readerAt(func(p []byte, _ int64) (int, error) { read += len(p); return len(p), io.EOF }), 1<<40)
	if err := c.Skip(1 << 39); err != nil || read != 0 {
		t.Errorf("%d bytes were read, %v", read, err)
	}
	if _, err := c.Byte(); err != nil || read != bufferSize {
		t.Errorf("%d bytes were read, %v", read, err)
	}
	if n := hostile.Allocated(4<<10, func() { _, _ = over(make([]byte, 10)).U64() }); n > 4<<10 {
		t.Errorf("a file of 10 bytes took %d", n)
	}
}

// TestReadAhead: reads are as small as asked for, and as large as needed.
func TestReadAhead(t *testing.T) {
	var sizes []int
	c := New("TEST", readerAt(func(p []byte, _ int64) (int, error) { sizes = append(sizes, len(p)); return len(p), nil }), 1<<40)
	c.ReadAhead(100)
	for _, n := range []uint64{4, 90, 200, 1} {
		if _, err := c.Bytes(n, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Skip(1 << 30); err != nil {
		t.Fatal(err)
	}
	c.ReadAhead(1 << 30)
	if _, err := c.Byte(); err != nil {
		t.Fatal(err)
	}
	if want := []int{100, 200, 100, bufferSize}; !slices.Equal(sizes, want) {
		t.Errorf("reads of %d bytes, want %d", sizes, want)
	}
}
