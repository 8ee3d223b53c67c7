// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSeal: a file is sealed when its writer goes, and then nobody writes it.
func TestSeal(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	m := b.mkdir(b.Root(), "m")
	n, h := b.create(m, "w", pattern(10000))
	if _, err := n.Open(background, true); !errors.Is(err, ErrNotReady) {
		t.Errorf("open of what is written: %v", err)
	}
	if _, err := n.OpenWriter(false); !errors.Is(err, ErrWriting) {
		t.Errorf("a second writer: %v", err)
	}
	h.Close()
	c, err := n.Open(background, true)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, c), pattern(10000)) {
		t.Error("other bytes")
	}
	c.Close()
	for _, trunc := range []bool{false, true} {
		if _, err := n.OpenWriter(trunc); !errors.Is(err, ErrSealed) {
			t.Errorf("open for writing: %v", err)
		}
	}
	if b.Bytes() != 0 {
		t.Errorf("%d bytes are charged to the area, which are the cache's", b.Bytes())
	}
	b.remove(m, "w", false)
	b.remove(b.Root(), "m", true)
	if len(b.cache.removed) != 1 {
		t.Errorf("removed: %s", b.cache.removed)
	}
}

// TestSealWaitsForMapping: who maps it for writing keeps it from being sealed.
func TestSealWaitsForMapping(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	m := b.mkdir(b.Root(), "m")
	n, h := b.create(m, "w", pattern(10000))
	unmap := b.mapping(h, 4096)
	h.Close()
	b.Retry()
	if n.Sealed() {
		t.Error("sealed while it is mapped for writing")
	}
	unmap()
	b.Retry()
	if !n.Sealed() {
		t.Error("not sealed when its mapping has gone")
	}
}

// TestReaderBeforeSeal: who has a temporary file open reads on when it gets its final
// name.
func TestReaderBeforeSeal(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	m := b.mkdir(b.Root(), "m")
	n := b.write(m, ".w", pattern(10000))
	c, err := n.Open(background, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Rename(".w", m, "w", false); err != nil {
		t.Fatal(err)
	}
	if !n.Sealed() {
		t.Error("not sealed")
	}
	if !bytes.Equal(read(t, c), pattern(10000)) {
		t.Error("other bytes")
	}
	c.Close()
	b.remove(m, "w", false)
}

// TestOpenDuringSeal: an open that comes while the cache takes a file over waits for
// that, and gets what stays.
func TestOpenDuringSeal(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	m := b.mkdir(b.Root(), "m")
	b.cache.hold = make(chan struct{})
	n, h := b.create(m, "w", pattern(10000))
	closed := make(chan struct{})
	go func() { defer close(closed); h.Close() }()
	soon(t, "it is being sealed", func() bool { b.cache.mu.Lock(); defer b.cache.mu.Unlock(); return len(b.cache.sealed) > 0 })
	got := make(chan Content, 1)
	go func() {
		c, err := n.Open(background, false)
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	close(b.cache.hold)
	<-closed
	if c := <-got; c != nil {
		if !bytes.Equal(read(t, c), pattern(10000)) {
			t.Error("other bytes")
		}
		c.Close()
	}
}

// TestRemoveDuringSeal: a file that loses its name while the cache takes it over is
// charged to nobody in the end, and the cache hears of it.
func TestRemoveDuringSeal(t *testing.T) {
	for _, how := range []struct{ refuse, late bool }{{}, {refuse: true}, {late: true}} {
		b := newBench(t, Config{Kind: Models, Leases: true})
		m := b.mkdir(b.Root(), "m")
		b.cache.hold, b.cache.refuse, b.cache.late = make(chan struct{}), how.refuse, how.late
		_, h := b.create(m, "w", pattern(10000))
		closed := make(chan struct{})
		go func() { defer close(closed); h.Close() }()
		soon(t, "it is being sealed", func() bool {
			b.cache.mu.Lock()
			defer b.cache.mu.Unlock()
			return len(b.cache.sealed) > 0 && len(b.cache.adopted) > 0 == how.late
		})
		b.remove(m, "w", false)
		close(b.cache.hold)
		<-closed
		b.check()
		if b.Bytes() != 0 || b.cache.total() != 0 || len(b.cache.adopted) > 0 {
			t.Errorf("left: %d bytes, %d of the budget, adopted %v", b.Bytes(), b.cache.total(), b.cache.adopted)
		}
	}
}

// TestWaitEnds: who waits for a seal is told when the name goes, and can be
// interrupted.
func TestWaitEnds(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	m := b.mkdir(b.Root(), "m")
	n, h := b.create(m, "w", pattern(10))
	ctx, cancel := context.WithCancel(background)
	errs := make(chan error, 2)
	go func() { _, err := n.Open(ctx, false); errs <- err }()
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	go func() { _, err := n.Open(background, false); errs <- err }()
	b.remove(m, "w", false)
	if err := <-errs; !errors.Is(err, ErrReplaced) {
		t.Errorf("its name goes: %v", err)
	}
	h.Close()
	b.remove(b.Root(), "m", true)
	b.nothingLeft()
}

// TestOwnDescriptors: what nobody uses keeps no descriptor.
func TestOwnDescriptors(t *testing.T) {
	for kind, leases := range map[Kind]bool{Models: true, Sessions: true, Objects: false} {
		b := newBench(t, Config{Kind: kind, Leases: leases})
		b.cache.refuse = true // as small files of a model, which stay with the area
		var m *Node
		if kind == Objects {
			m, _ = b.Home(me)
		} else {
			m = b.mkdir(b.Root(), "m")
		}
		for _, name := range []string{"a", "b", ".c"} {
			n := b.write(m, name, pattern(10))
			c, err := n.Open(background, false)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if open := descriptors(t, b.cfg.Dir); len(open) > 0 {
			t.Errorf("kind %d: open are %s", kind, open)
		}
	}
}

// TestTimesStay: a time that a writer has set is the file's also when the room that
// was taken ahead goes back.
func TestTimesStay(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true, HugePages: true})
	m := b.mkdir(b.Root(), "m")
	n, h := b.create(m, "w", pattern(100<<10))
	when := unix.Timespec{Sec: 1_000_000_000}
	if err := n.Chtimes([2]unix.Timespec{when, when}); err != nil {
		t.Fatal(err)
	}
	h.Close()
	st, err := n.Stat()
	if err != nil || st.Mtim.Sec != when.Sec {
		t.Errorf("mtime is %d, want %d (%v)", st.Mtim.Sec, when.Sec, err)
	}
}
