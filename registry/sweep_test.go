// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// sweeps says when Sweep wants to come back.
func (b *bench) sweeps(want time.Duration) {
	b.t.Helper()
	if got := b.Sweep(); got != want {
		b.t.Errorf("sweep again in %v, want %v", got, want)
	}
}

func TestTTL(t *testing.T) {
	bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.sweeps(0)
		b.put("a")
		b.sweeps(time.Minute)
		time.Sleep(20 * time.Second)
		b.put("b")
		held := b.get("c", 1)
		b.sweeps(40 * time.Second)
		time.Sleep(40*time.Second - 1)
		b.sweeps(slack) // it is due in a nanosecond: with others, or soon
		b.want("a b c")
		time.Sleep(slack)
		b.sweeps(20*time.Second + 1 - slack)
		b.wantGone("a ttl")
		b.put("b") // used again
		b.sweeps(time.Minute)
		time.Sleep(time.Minute)
		b.sweeps(0)
		b.wantGone("a ttl", "b ttl")
		held.Release() // its last use is now
		b.sweeps(time.Minute)
		b.Touch("c")
		time.Sleep(time.Minute)
		b.sweeps(0)
		b.want("")
	})
}

// TestTTLOfGroup: a group's own comes before the configured one, in either
// direction.
func TestTTLOfGroup(t *testing.T) {
	bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.SetTTL("short", time.Second)
		b.SetTTL("long", time.Hour)
		b.SetTTL("ever", 0)
		b.SetTTL("max", math.MaxInt64)
		for name, want := range map[string]time.Duration{"short": time.Second, "ever": 0, "other": time.Minute} {
			if got := b.TTL(name); got != want {
				t.Errorf("%s has %v", name, got)
			}
		}
		b.put("ever/1", "long/1", "other/1", "max/1", "short/1", "short/2")
		b.sweeps(time.Second)
		time.Sleep(2 * time.Hour)
		if wait := b.Sweep(); wait < 1<<62 {
			t.Errorf("sweep again in %v", wait)
		}
		b.wantGone("short/1 ttl", "short/2 ttl", "other/1 ttl", "long/1 ttl")
		b.SetTTL("ever", time.Hour) // since its last use
		b.SetTTL("max", 0)
		b.sweeps(0)
		b.want("max/1")
	})
}

// TestWake: once, when Sweep should come earlier than it last said.
func TestWake(t *testing.T) {
	bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
		woken := func(what string, want int) {
			t.Helper()
			if b.wakes != want {
				t.Errorf("%s: woken %d times, want %d", what, b.wakes, want)
			}
			b.wakes = 0
		}
		b.SetTTL("never", 0)
		b.put("never/1")
		woken("without a TTL", 0)
		held := b.get("m/1", 1)
		woken("while it is held", 0)
		held.Release()
		woken("the first that is due", 1)
		b.put("m/2", "m/1")
		woken("that is known", 0)
		b.sweeps(time.Minute)
		time.Sleep(time.Second)
		b.put("m/3", "m/1")
		woken("later than Sweep", 0)
		b.SetTTL("n", time.Minute-time.Second-slack)
		b.put("n/1")
		woken("hardly earlier than Sweep", 0)
		b.SetTTL("n", time.Second)
		woken("a shorter TTL", 1)
		b.SetTTL("n", 2*time.Second)
		woken("a longer TTL", 0)
		b.sweeps(2 * time.Second)
		b.Pin("n")
		b.SetTTL("n", time.Millisecond)
		woken("pinned", 0)
		time.Sleep(slack)
		b.Unpin("n")
		woken("unpinned, and due", 1)
		b.sweeps(time.Minute - time.Second - slack)
		b.wantGone("n/1 ttl")
		time.Sleep(time.Hour)
		b.sweeps(0)
		b.Start("m/1", 1, b.load("m/1"))
		synctest.Wait()
		woken("loaded in the background", 1)
	})
}

// TestSweepGoesOn: one Sweep frees all that are due, whoever refuses.
func TestSweepGoesOn(t *testing.T) {
	bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.put("a", "b", "c")
		b.use("a#1", true)
		b.evict = func(k, _ string) error {
			if k == "b" {
				return errOrigin
			}
			return nil
		}
		time.Sleep(time.Minute)
		b.sweeps(time.Minute) // b; a waits for Retry
		b.wantGone("c ttl")
	})
}

// TestSweepMeets what is used while it frees others.
func TestSweepMeets(t *testing.T) {
	bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.put("a", "b", "c")
		b.evict = func(k, _ string) error {
			if k == "a" {
				b.get("b", 1).Release()
			}
			return nil
		}
		time.Sleep(time.Minute)
		b.sweeps(time.Minute)
		b.wantGone("a ttl", "c ttl")
		b.want("b")
	})
}
