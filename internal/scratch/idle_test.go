// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestSessionGoes: the time of a session counts from its last use, be it an open file
// or a mapping.
func TestSessionGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{Kind: Sessions, Leases: true, TTL: 10 * time.Minute})
		s := b.mkdir(b.Root(), "s")
		_, h := b.create(s, "f", pattern(100))
		there := func() bool { synctest.Wait(); _, ok := b.Root().Lookup("s"); return ok }
		time.Sleep(9 * time.Minute)
		h.Close()
		time.Sleep(9 * time.Minute)
		if !there() {
			t.Fatal("gone 9 minutes after the last close")
		}
		n, _ := s.Lookup("f")
		w, err := n.OpenWriter(false)
		if err != nil {
			t.Fatal(err)
		}
		unmap := b.mapping(w, 100)
		w.Close()
		time.Sleep(35 * time.Minute)
		if !there() {
			t.Fatal("gone while it is mapped")
		}
		unmap()
		b.Retry() // what the event does
		time.Sleep(9 * time.Minute)
		if !there() {
			t.Error("gone 9 minutes after the mapping went")
		}
		time.Sleep(61 * time.Second)
		if there() {
			t.Error("there 10 minutes after the mapping went")
		}
		if !slices.Equal(b.cache.went, []string{"s"}) {
			t.Errorf("the kernel is told that %q went", b.cache.went)
		}
		b.nothingLeft()
	})
}

// TestTemporaryGoes: a large temporary file goes ten minutes after its last use, a
// small one and one in use stay.
func TestTemporaryGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{Kind: Models, Leases: true})
		m := b.mkdir(b.Root(), "m")
		b.write(m, ".large", pattern(temporarySize+1))
		b.write(m, ".small", pattern(100))
		_, h := b.create(m, ".used", pattern(temporarySize+1))
		late := b.mkdir(m, ".folder")
		b.write(late, "w", pattern(temporarySize+1))
		there := func(parent *Node, name string) bool { synctest.Wait(); _, ok := parent.Lookup(name); return ok }
		time.Sleep(9 * time.Minute)
		if !there(m, ".large") {
			t.Error("gone after 9 minutes")
		}
		time.Sleep(61 * time.Second)
		if there(m, ".large") || there(late, "w") {
			t.Error("there after 10 minutes")
		}
		if !there(m, ".small") || !there(m, ".used") {
			t.Error("a small one or one in use went")
		}
		h.Close()
		time.Sleep(5 * time.Minute)
		if !there(m, ".used") {
			t.Error("gone 5 minutes after its close")
		}
		time.Sleep(6 * time.Minute)
		if there(m, ".used") {
			t.Error("there 11 minutes after its close")
		}
		slices.Sort(b.cache.went)
		if !slices.Equal(b.cache.went, []string{"m/.folder/w", "m/.large", "m/.used"}) {
			t.Errorf("the kernel is told that %q went", b.cache.went)
		}
	})
}

// TestExpiryRace: a session that is about to go, and is opened: either the open fails,
// or the session stays.
func TestExpiryRace(t *testing.T) {
	b := newBench(t, Config{Kind: Sessions, Leases: true})
	for range 300 {
		s := b.mkdir(b.Root(), "s")
		n := b.write(s, "f", pattern(10))
		ttl := slack // due at once
		if err := s.SetSession(nil, &ttl); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); b.sweep() }()
		h, err := n.OpenWriter(false)
		<-done
		_, there := b.Root().Lookup("s")
		if err == nil && !there {
			t.Fatal("the session is gone, and a file in it was opened")
		}
		if err == nil {
			h.Close()
		}
		if there {
			forever := time.Duration(0)
			_ = s.SetSession(nil, &forever)
			b.Area.mu.Lock()
			_, there = b.root.kids["s"] // the clock came meanwhile
			b.Area.mu.Unlock()
		}
		if there {
			b.remove(s, "f", false)
			b.remove(b.Root(), "s", true)
		}
	}
	b.nothingLeft()
}
