// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"errors"
	"math"
	"sync"
	"testing"
)

// TestQuotaExact: a quota counts what files have, not what was taken ahead for them.
func TestQuotaExact(t *testing.T) {
	b := newBench(t, Config{Kind: Sessions, Leases: true, HugePages: true, Quota: 4 << 20})
	s := b.mkdir(b.Root(), "s")
	_, one := b.create(s, "one", pattern(1<<20)) // takes a huge page ahead
	_, two := b.create(s, "two", nil)
	if _, err := two.WriteAt(pattern(3<<20), 0); err != nil {
		t.Errorf("what just fits: %v", err)
	}
	if bytes, _, _, _ := s.Session(); bytes != 4<<20 {
		t.Errorf("%d bytes are counted", bytes)
	}
	for what, h := range map[string]*Handle{"into what was taken ahead": one, "beyond": two} {
		if _, err := h.WriteAt([]byte{1}, 3<<20); !errors.Is(err, ErrNoSpace) {
			t.Errorf("a byte more, %s: %v", what, err)
		}
	}
	if _, err := one.WriteAt([]byte{1}, 1<<20); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a byte more in the page that was taken ahead: %v", err)
	}
	one.Close()
	two.Close()
	b.remove(s, "one", false)
	if bytes, _, _, _ := s.Session(); bytes != 3<<20 {
		t.Errorf("%d bytes are counted after a file went", bytes)
	}
	b.remove(s, "two", false)
	b.remove(b.Root(), "s", true)
	b.nothingLeft()
}

// TestSizes: what no memory can hold is refused, whichever way it is asked for, and
// what is there stays.
func TestSizes(t *testing.T) {
	b := newBench(t, Config{Kind: Sessions, Leases: true, HugePages: true})
	s := b.mkdir(b.Root(), "s")
	n, h := b.create(s, "f", pattern(100))
	for _, size := range []int64{room + 1, 1 << 40, 1 << 62, math.MaxInt64 - 4096, math.MaxInt64 - 1, math.MaxInt64} {
		if err := n.Resize(background, size, true); !errors.Is(err, ErrNoSpace) {
			t.Errorf("size %d: %v", size, err)
		}
		if _, err := h.WriteAt([]byte{1}, size-1); !errors.Is(err, ErrNoSpace) {
			t.Errorf("a byte at %d: %v", size-1, err)
		}
		if err := h.Allocate(background, 0, size, false); !errors.Is(err, ErrNoSpace) {
			t.Errorf("fallocate %d: %v", size, err)
		}
	}
	if err := n.Resize(background, 50, true); !errors.Is(err, ErrShrink) {
		t.Errorf("less: %v", err)
	}
	if st, err := n.Stat(); err != nil || st.Size != 100 {
		t.Errorf("size is %d, %v", st.Size, err)
	}
	h.Close()
	b.remove(s, "f", false)
	b.nothingLeft()
}

// TestResizeUnlinked: a file without a name grows for who has it open.
func TestResizeUnlinked(t *testing.T) {
	for _, leases := range []bool{true, false} {
		b := newBench(t, Config{Kind: Sessions, Leases: leases})
		s := b.mkdir(b.Root(), "s")
		n, h := b.create(s, "f", pattern(100))
		b.remove(s, "f", false)
		if err := n.Resize(background, 8192, true); err != nil {
			t.Errorf("ftruncate: %v", err)
		}
		if b.Bytes() != 8192 || b.Lingering() != 8192 {
			t.Errorf("%d bytes, %d lingering", b.Bytes(), b.Lingering())
		}
		if _, err := h.WriteAt([]byte("end"), 8189); err != nil {
			t.Error(err)
		}
		h.Close()
		if err := n.Resize(background, 16384, true); !errors.Is(err, ErrReplaced) {
			t.Errorf("of one that nobody has: %v", err)
		}
		b.nothingLeft()
	}
}

// TestWritersRace: eight writers share a quota that is too small for all: nobody gets
// more than there is, and nothing is lost of what they give back.
func TestWritersRace(t *testing.T) {
	const quota = 8 << 20
	b := newBench(t, Config{Kind: Sessions, Leases: true, HugePages: true, Quota: quota})
	s := b.mkdir(b.Root(), "s")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			name, bytes := string(rune('a'+i)), pattern(200<<10)
			for range 5 {
				_, h, err := s.Create(name, 0o644, me)
				if err != nil {
					t.Error(err)
					return
				}
				for at := int64(0); ; at += 200 << 10 {
					if _, err := h.WriteAt(bytes, at); err != nil {
						if !errors.Is(err, ErrNoSpace) {
							t.Error(err)
						}
						break
					}
				}
				if n, _, _, _ := s.Session(); n > quota {
					t.Errorf("%d bytes of %d", n, int64(quota))
				}
				if err := s.Remove(name, false); err != nil {
					t.Error(err)
				}
				h.Close()
			}
		})
	}
	all.Wait()
	b.remove(b.Root(), "s", true)
	b.nothingLeft()
}
