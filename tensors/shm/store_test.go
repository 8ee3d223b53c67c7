// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
)

// eachBackend runs a test on every kind of store that this system has.
func eachBackend(t *testing.T, test func(t *testing.T, s *Store)) {
	for _, name := range backends {
		t.Run(name, func(t *testing.T) { test(t, openBackend(t, name)) })
	}
}

// pattern is n bytes that tell their place.
func pattern(n int64) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8)*31 ^ byte(i>>16)*17
	}
	return p
}

// sealed makes a segment with the pattern in it.
func sealed(t testing.TB, s *Store, name string, n int64) *Segment {
	t.Helper()
	b, err := s.Create(name, n)
	if err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes(), pattern(n))
	g, err := b.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func remove(t testing.TB, g *Segment) {
	t.Helper()
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

func TestSegmentLife(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		for _, n := range []int64{0, 1, 4095, 4096, 4097, 3<<20 + 17} {
			b, err := s.Create("org/model:layer.0", n)
			if err != nil {
				t.Fatal(err)
			}
			if got := int64(len(b.Bytes())); got != n {
				t.Fatalf("Bytes has %d bytes, want %d", got, n)
			}
			copy(b.Bytes(), pattern(n))
			g, err := b.Seal()
			if err != nil {
				t.Fatal(err)
			}
			b.Discard() // after Seal: no effect
			if b.Bytes() != nil {
				t.Error("the builder has memory after Seal")
			}
			if _, err := b.Seal(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("second Seal: %v", err)
			}
			checkSegment(t, s, g, n)
			remove(t, g)
			remove(t, g) // again: no effect
			if _, err := g.OpenBacking(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("OpenBacking after Remove: %v", err)
			}
			if _, err := g.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
				t.Errorf("ReadAt after Remove: %v", err)
			}
			if used, err := g.InUse(); used || err != nil {
				t.Errorf("InUse after Remove: %v, %v", used, err)
			}
		}
	})
}

func checkSegment(t *testing.T, s *Store, g *Segment, n int64) {
	t.Helper()
	if g.Size() != n || g.Charged() < n || g.Charged() >= n+pageSize {
		t.Errorf("size %d, charged %d, want %d", g.Size(), g.Charged(), n)
	}
	if want := s.Dir() != ""; (len(entries(t, s)) == 1) != want {
		t.Errorf("files: %q", entries(t, s))
	}
	fd, err := g.OpenBacking()
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "backing")
	got, err := io.ReadAll(f)
	_ = f.Close()
	if err != nil || !bytes.Equal(got, pattern(n)) {
		t.Errorf("the backing has %d other bytes, %v", len(got), err)
	}
	p := make([]byte, n+1)
	if m, err := g.ReadAt(p, 0); int64(m) != n || !errors.Is(err, io.EOF) || !bytes.Equal(p[:n], pattern(n)) {
		t.Errorf("ReadAt: %d, %v", m, err)
	}
	if used, err := g.InUse(); used || err != nil {
		t.Errorf("InUse: %v, %v", used, err)
	}
}

func TestDiscard(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		for _, n := range []int64{0, 5000} {
			for _, mapped := range []bool{false, true} {
				b, err := s.Create("discarded", n)
				if err != nil {
					t.Fatal(err)
				}
				if mapped {
					_ = b.Bytes()
				}
				b.Discard()
				b.Discard()
				if b.Bytes() != nil {
					t.Error("the builder has memory after Discard")
				}
				if _, err := b.Seal(); !errors.Is(err, os.ErrClosed) {
					t.Errorf("Seal: %v", err)
				}
			}
		}
		if left := entries(t, s); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		if _, err := s.Create("negative", -1); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("a size of -1: %v", err)
		}
		if left := entries(t, s); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// A store that is closed touches its folder no more: it may be another's.
func TestClosedStore(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		g, resting := sealed(t, s, "resident", 100), sealed(t, s, "at rest", 100)
		p := make([]byte, 100)
		if _, err := g.ReadAt(p, 0); err != nil {
			t.Error(err)
		}
		building, err := s.Create("building", 100)
		if err != nil {
			t.Fatal(err)
		}
		discarded, err := s.Create("discarded", 100)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if _, err := s.Create("late", 1); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Create: %v", err)
		}
		if _, err := building.Seal(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Seal: %v", err)
		}
		discarded.Discard()
		if s.Info().Backend != "files" {
			if _, err := g.ReadAt(p, 0); err != nil || !bytes.Equal(p, pattern(100)) {
				t.Errorf("ReadAt of a segment that outlives its store: %v", err)
			}
		}
		if s.Info().Backend == "tmpfs" {
			if _, err := resting.ReadAt(p, 0); !errors.Is(err, os.ErrClosed) {
				t.Errorf("ReadAt of a segment that nobody used when its store was closed: %v", err)
			}
		}
		remove(t, g)
		remove(t, resting)
	})
}

func TestConcurrentUse(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *Store) {
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for n := range 20 {
					g := sealed(t, s, fmt.Sprint(i), int64(n*1000+1))
					var users sync.WaitGroup
					for range 3 {
						users.Go(func() { useConcurrently(t, g) })
					}
					users.Wait()
					remove(t, g)
				}
			})
		}
		all.Wait()
	})
}

func useConcurrently(t *testing.T, g *Segment) {
	p := make([]byte, g.Size())
	if _, err := g.ReadAt(p, 0); err != nil || !bytes.Equal(p, pattern(g.Size())) {
		t.Errorf("ReadAt: %v", err)
	}
	fd, err := g.OpenBacking()
	if err != nil {
		t.Error(err)
		return
	}
	f := os.NewFile(uintptr(fd), "backing")
	if used, err := g.InUse(); err != nil || used != g.store.Info().Leases {
		t.Errorf("open, and in use is %v, %v", used, err)
	}
	_ = f.Close()
}

func TestEntryName(t *testing.T) {
	s := &Store{}
	for _, name := range []string{"", ".", "../../etc/passwd", "a\x00b\nc", "größe:C\\x", strings.Repeat("x", 5000)} {
		got := s.entryName(name)
		if strings.ContainsAny(got, "/\\:\x00\n ") || len(got) > 120 || got[0] < '1' || got[0] > '9' {
			t.Errorf("entryName(%q) = %q", name, got)
		}
	}
}

func TestPrefix(t *testing.T) {
	for range 1000 {
		if p := prefix(); p < 1<<20 || p > 1<<31-1 {
			t.Fatalf("prefix %x", p)
		}
	}
}
