// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// originFile is a file with the pattern in it.
func originFile(t testing.TB, dir string, n int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("origin-%d", n)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Write(pattern(n)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFillRanges fills every kind of range, with and without direct reads, and
// looks at every byte around it.
func TestFillRanges(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		origin, bytes := originFile(t, t.TempDir(), 70_001), pattern(70_001)
		for _, off := range []int64{0, 1, 512, 4095, 4096, 4097, 10_000} {
			for _, dst := range []int64{0, 1, 4096, 4100} {
				for _, n := range []int64{0, 1, 100, 4095, 4096, 4097, 12_288, 50_001, 70_001 - off} {
					for _, more := range []int64{0, 1, 9000} {
						for _, buffered := range []bool{false, true} {
							f := filling{off: off, n: n, dst: dst, inFlight: 3, read: 4096, batch: 8192, batches: 2, buffered: buffered}
							checkFill(t, s, origin, bytes, f, dst+n+more)
						}
					}
				}
			}
		}
	})
}

func checkFill(t *testing.T, s *Store, origin *os.File, bytes []byte, f filling, size int64) {
	t.Helper()
	b, err := s.Create("filled", size)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Discard()
	want := make([]byte, size)
	for i := range want {
		want[i] = 0xa5
	}
	copy(b.Bytes(), want)
	var told []int64
	if err := b.fill(t.Context(), origin, f, func(n int64) { told = append(told, n) }); err != nil {
		t.Fatalf("%+v into %d: %v", f, size, err)
	}
	copy(want[f.dst:], bytes[f.off:f.off+f.n])
	if i := differ(b.Bytes(), want); i >= 0 {
		t.Fatalf("%+v into %d: byte %d is %#x, want %#x", f, size, i, b.Bytes()[i], want[i])
	}
	last := int64(0)
	for _, n := range told {
		if n <= last {
			t.Fatalf("%+v: progress went from %d to %d", f, last, n)
		}
		last = n
	}
	if last != f.n {
		t.Fatalf("%+v: progress ended at %d", f, last)
	}
}

func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// TestFill is one of several chunks, as the daemon does it: behind a header.
func TestFill(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		const n = 2*batchSize + 12_345
		origin := originFile(t, t.TempDir(), n)
		for _, off := range []int64{0, 333} {
			b, err := s.Create("filled", pageSize+n-off)
			if err != nil {
				t.Fatal(err)
			}
			header := bytes.Repeat([]byte{7}, pageSize)
			copy(b.Bytes(), header)
			if err := b.Fill(t.Context(), origin, off, n-off, pageSize, nil); err != nil {
				t.Fatal(err)
			}
			g, err := b.Seal()
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, g.Size())
			if _, err := g.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if want := append(header, pattern(n)[off:]...); !bytes.Equal(got, want) {
				t.Errorf("from %d: byte %d differs", off, differ(got, want))
			}
			remove(t, g)
		}
	})
}

func TestFillRefuses(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		origin := originFile(t, t.TempDir(), 1000)
		b, err := s.Create("small", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range [][3]int64{ // off, n, dst
			{0, 101, 0}, {0, 100, 1}, {0, 1, 100}, {0, 0, 101}, {-1, 1, 0}, {0, -1, 0}, {0, 1, -1}, {0, 1<<63 - 1, 1}, {1<<63 - 1, 1, 0}, {1<<63 - 50, 100, 0}, {0, 1, 1<<63 - 1},
		} {
			if err := b.Fill(t.Context(), origin, f[0], f[1], f[2], nil); !errors.Is(err, os.ErrInvalid) {
				t.Errorf("%v: %v", f, err)
			}
		}
		b.Discard()
		if err := b.Fill(t.Context(), origin, 0, 1, 0, nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Discard: %v", err)
		}
		empty, err := s.Create("empty", 0)
		if err != nil {
			t.Fatal(err)
		}
		defer empty.Discard()
		if err := empty.Fill(t.Context(), origin, 0, 1, 0, nil); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("into nothing: %v", err)
		}
		if err := empty.Fill(t.Context(), origin, 0, 0, 0, nil); err != nil {
			t.Errorf("nothing into nothing: %v", err)
		}
	})
}

// TestFillShortOrigin wants more bytes than there are, and has the origin shrink
// while it is read.
func TestFillShortOrigin(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		dir := t.TempDir()
		for _, has := range []int64{0, 1, 4095, 4096, 10_000, 40_960} {
			for _, buffered := range []bool{false, true} {
				f := filling{n: has + 1, inFlight: 2, read: 8192, batch: 8192, batches: 2, buffered: buffered}
				fillShort(t, s, originFile(t, dir, has), f, nil)
				f.off, f.n = 17, has+5000
				fillShort(t, s, originFile(t, dir, has), f, nil)
			}
		}
		for _, to := range []int64{0, 8192, 12_288, 20_001, 65_535} {
			for _, buffered := range []bool{false, true} {
				f := filling{n: 65_536, inFlight: 1, read: 4096, batch: 8192, batches: 2, buffered: buffered}
				origin := originFile(t, dir, f.n)
				fillShort(t, s, origin, f, func(int64) {
					if err := origin.Truncate(to); err != nil {
						t.Error(err)
					}
				})
			}
		}
	})
}

func fillShort(t *testing.T, s *Store, origin *os.File, f filling, progress func(int64)) {
	t.Helper()
	b, err := s.Create("short", f.n)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Discard()
	if err := b.fill(t.Context(), origin, f, progress); !errors.Is(err, ErrShortOrigin) {
		t.Errorf("%+v: %v", f, err)
	}
}

func TestFillCancelled(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		origin := originFile(t, t.TempDir(), 1<<20)
		b, err := s.Create("cancelled", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Discard()
		why := errors.New("nobody waits any more")
		for _, inFlight := range []int{1, 4} {
			ctx, cancel := context.WithCancelCause(t.Context())
			var last int64
			f := filling{n: 1 << 20, inFlight: inFlight, read: 4096, batch: 4096, batches: 2}
			err = b.fill(ctx, origin, f, func(n int64) {
				last = n
				if n == 3*4096 {
					cancel(why)
				}
			})
			cancel(nil)
			// What is in flight and what waits to be told ends; no more begins.
			if most := int64(3+3*inFlight) * 4096; !errors.Is(err, why) || last > most {
				t.Errorf("%d in flight: %v after %d bytes, at most %d", inFlight, err, last, most)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Fill(ctx, origin, 0, 1<<20, 0, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
	})
}

func TestFillClosedOrigin(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		origin := originFile(t, t.TempDir(), 100)
		_ = origin.Close()
		b, err := s.Create("closed origin", 100)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Discard()
		if err := b.Fill(t.Context(), origin, 0, 100, 0, nil); err == nil {
			t.Error("a closed origin was read")
		}
	})
}
