// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// busy checks that a segment is in use and cannot be removed, and that both
// questions leave it as it was.
func busy(t *testing.T, g *Segment, who string) {
	t.Helper()
	if used, err := g.InUse(); !used || err != nil {
		t.Errorf("%s: in use is %v, %v", who, used, err)
	}
	if err := g.Remove(); !errors.Is(err, ErrInUse) {
		t.Errorf("%s: Remove: %v", who, err)
	}
	if _, err := os.Lstat(filepath.Join(g.store.Dir(), g.entry)); err != nil {
		t.Errorf("%s: %v", who, err)
	}
}

// idle checks that nobody uses a segment, at the latest soon.
func idle(t *testing.T, g *Segment, who string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		used, err := g.InUse()
		if err != nil {
			t.Fatalf("%s: %v", who, err)
		}
		if !used {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still in use", who)
		}
	}
}

func TestLease(t *testing.T) {
	s := openTmpfs(t, Config{Size: 16 << 20})
	if !s.Info().Leases {
		t.Fatalf("no leases: %+v", s.Info())
	}
	g := sealed(t, s, "leased", 3*pageSize)
	idle(t, g, "nobody")

	fd, err := g.OpenBacking()
	if err != nil {
		t.Fatal(err)
	}
	busy(t, g, "an open descriptor")
	again, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	busy(t, g, "a copy of a closed descriptor, as a registered backing is one")
	_ = unix.Close(again)
	idle(t, g, "after close")

	m := mapSegment(t, g)
	busy(t, g, "a mapping without a descriptor")
	half := pageSize
	if err := unix.Mprotect(m, unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	busy(t, g, "a mapping without access")
	if err := unix.Mprotect(m, unix.PROT_READ); err != nil || !bytes.Equal(m[:half], pattern(3 * pageSize)[:half]) {
		t.Errorf("the mapping shows other bytes, %v", err)
	}
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	idle(t, g, "after munmap")

	path, err := unix.Open(filepath.Join(s.Dir(), g.entry), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	idle(t, g, "an O_PATH descriptor is no use")
	_ = unix.Close(path)
	remove(t, g)
}

// TestRemovedUnderReaders: an open that races with Remove gets the whole segment
// or none.
func TestRemovedUnderReaders(t *testing.T) {
	s := openTmpfs(t, Config{Size: 16 << 20})
	want := pattern(8 * pageSize)
	for round := range 50 {
		g := sealed(t, s, fmt.Sprint(round), 8*pageSize)
		path := filepath.Join(s.Dir(), g.entry)
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for {
					got, err := os.ReadFile(path)
					if errors.Is(err, os.ErrNotExist) {
						return
					}
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v", len(got), err)
						return
					}
					time.Sleep(50 * time.Microsecond) // else one of them has it open at any time
				}
			})
		}
		for errors.Is(g.Remove(), ErrInUse) { // until no reader is there
		}
		readers.Wait()
	}
}

// drain takes the events that are queued by now.
func drain(s *Store) {
	for {
		select {
		case <-s.Events():
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

// TestEvents: the store wakes when another process lets go of a segment, in
// whatever way, and the segment can be removed then.
func TestEvents(t *testing.T) {
	for _, c := range []struct {
		name  string
		letGo func(*readerProcess)
	}{
		{"munmap", func(p *readerProcess) { p.do("unmap", "unmapped") }},
		{"kill -9", func(p *readerProcess) { p.kill() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openTmpfs(t, Config{Size: 16 << 20})
			g := sealed(t, s, "mapped", 3*pageSize)
			reader := startReader(t, filepath.Join(s.Dir(), g.entry))
			drain(s)
			busy(t, g, "a reader")
			select {
			case <-s.Events():
				t.Error("an event without a reason")
			case <-time.After(50 * time.Millisecond):
			}
			c.letGo(reader)
			select {
			case <-s.Events():
			case <-time.After(5 * time.Second):
				t.Fatal("no event")
			}
			idle(t, g, "the reader has let go")
			remove(t, g)
			reader.kill()
		})
	}
}

// TestEventOfUnlinked: what is renamed or unlinked while it is mapped tells too.
func TestEventOfUnlinked(t *testing.T) {
	s := openTmpfs(t, Config{Size: 16 << 20})
	g := sealed(t, s, "mapped", 3*pageSize)
	reader := startReader(t, filepath.Join(s.Dir(), g.entry))
	busy(t, g, "a reader")
	if err := os.Remove(filepath.Join(s.Dir(), g.entry)); err != nil {
		t.Fatal(err)
	}
	drain(s)
	reader.kill()
	select {
	case <-s.Events():
	case <-time.After(5 * time.Second):
		t.Fatal("no event")
	}
	idle(t, g, "the reader was killed")
	remove(t, g) // its name is gone already
}

// TestReaderOutlivesStore: neither Close nor CleanStale takes memory from a
// process that maps it.
func TestReaderOutlivesStore(t *testing.T) {
	want := 0
	for _, x := range pattern(pageSize) {
		want += int(x)
	}
	s := openTmpfs(t, Config{Size: 16 << 20})
	g := sealed(t, s, "mapped", pageSize)
	reader := startReader(t, filepath.Join(s.Dir(), g.entry))
	busy(t, g, "a reader")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if got := reader.do("sum", "sum"); got != fmt.Sprint(want) {
		t.Errorf("the reader's sum is %s, want %d", got, want)
	}
	if err := g.Remove(); !errors.Is(err, ErrInUse) {
		t.Errorf("Remove: %v", err)
	}
	reader.do("unmap", "unmapped")
	idle(t, g, "the reader has let go")
	remove(t, g)
	reader.kill()
}

// TestRest: a segment that nobody uses has no descriptor; one that somebody uses or
// reads has, until the next question, and the questions themselves end: each answer
// makes at most one event.
func TestRest(t *testing.T) {
	s := openTmpfs(t, Config{Size: 16 << 20})
	before := len(census().files)
	var all []*Segment
	for i := range 50 {
		all = append(all, sealed(t, s, fmt.Sprint(i), pageSize))
	}
	if n := len(census().files) - before; n != 0 {
		t.Errorf("%d descriptors for 50 segments that nobody has used", n)
	}
	for i, g := range all {
		if got := make([]byte, pageSize); i%2 == 0 {
			if _, err := g.ReadAt(got, 0); err != nil || !bytes.Equal(got, pattern(pageSize)) {
				t.Errorf("ReadAt: %v, or other bytes", err)
			}
			g.Rest()
			continue
		}
		fd, err := g.OpenBacking()
		if err != nil {
			t.Fatal(err)
		}
		busy(t, g, "a backing")
		g.Rest()
		busy(t, g, "a backing, after Rest")
		_ = unix.Close(fd)
		idle(t, g, "after close")
	}
	if n := len(census().files) - before; n != 0 {
		t.Errorf("%d descriptors for 50 segments that nobody uses any more", n)
	}

	m := mapSegment(t, all[0])
	busy(t, all[0], "a mapping")
	drain(s)
	busy(t, all[0], "a mapping")
	select {
	case <-s.Events():
		t.Error("a question about a segment in use is an event, which asks it again")
	case <-time.After(50 * time.Millisecond):
	}
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		idle(t, g, "at the end")
		remove(t, g)
	}
}

// TestMemfdsWithinLimit: memfds take half of the descriptors that the process may have,
// and no more; one that goes makes room for another.
func TestMemfdsWithinLimit(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	s := openBackend(t, "memfd")
	low := limit
	low.Cur = 128
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	})
	var all []*Segment
	for i := range 64 {
		all = append(all, sealed(t, s, fmt.Sprint(i), pageSize))
	}
	if _, err := s.Create("one more", pageSize); !errors.Is(err, ErrNoFiles) {
		t.Errorf("one more: %v", err)
	}
	remove(t, all[0])
	b, err := s.Create("instead", pageSize)
	if err != nil {
		t.Fatal(err)
	}
	b.Discard()
	all[0] = sealed(t, s, "again", pageSize)
	for _, g := range all {
		remove(t, g)
	}
	if n := s.keeping.Load(); n != 0 {
		t.Errorf("%d descriptors are counted at the end", n)
	}
}
