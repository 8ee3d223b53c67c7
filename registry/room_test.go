// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

func TestBudget(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 10}, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			key  string
			size int64
			want string
		}{
			{"a", 4, "a"},
			{"b", 4, "a b"},
			{"c", 2, "a b c"},
			{"d", 0, "a b c d"},
			{"e", 1, "b c d e"}, // no more than is needed
			{"f", 8, "d e f"},
			{"g", 10, "g"},
		} {
			b.get(c.key, c.size).Release()
			b.want(c.want)
		}
		b.wantStats("hits 0 misses 7 loads 7 failures 0 evictions 6 resident 10 lingering 0 reserved 0")
	})
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		b.get("a", 1<<62).Release()
		b.get("b", 1<<61).Release()
		b.want("a b")
	})
}

// TestReserved: a load has its bytes from its start, and gives them back if it
// fails.
func TestReserved(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 10, MaxGroups: 1}, func(t *testing.T, b *bench) {
		load, end := b.slow("m/1")
		c := b.begin("m/1", 6, load)
		wantErr(t, b.fails("m/2", 5), ErrNoRoom)
		wantErr(t, b.fails("n/1", 0), ErrNoRoom)
		b.put("m/3")
		_ = b.Evict("m/3")
		end <- errOrigin
		b.failed(c, errOrigin)
		b.get("n/1", 10).Release()
	})
}

// TestOverSize: what never fits drives nobody out.
func TestOverSize(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 10}, func(t *testing.T, b *bench) {
		b.put("a", "b")
		err := b.fails("c", 11)
		want := "c needs 11 B, the whole budget is 10 B: mount with a larger --memory"
		if wantErr(t, err, ErrNoRoom); err.Error() != want {
			t.Errorf("error %v\n want %s", err, want)
		}
		b.want("a b")
		b.wantGone()
	})
}

// TestNoRoom: the error says who holds what, the largest first.
func TestNoRoom(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 100}, func(t *testing.T, b *bench) {
		b.Pin("pin")
		b.get("pin/1", 20).Release()
		b.get("held/1", 30)
		b.get("held/2", 3)
		b.get("held/2", 3)
		b.get("map/1", 5).Release()
		b.use("map/1#4", true)
		b.get("old/1", 7)
		b.Doom("old/1")
		load, _ := b.slow("load/1")
		loads := b.begin("load/1", 6, load)
		b.get("idle/1", 9).Release()
		err := b.fails("new/1", 40)
		var e *NoRoomError
		if wantErr(t, err, ErrNoRoom); !errors.As(err, &e) {
			t.Fatalf("error %T", err)
		}
		want := &NoRoomError{Group: "new", Need: 40, Budget: 100, Free: 29, Holders: []Holder{
			{Group: "held", Bytes: 33, Refs: 3},
			{Group: "pin", Bytes: 20, Pinned: true},
			{Group: "old", Bytes: 7, Refs: 1},
			{Group: "load", Bytes: 6, Loading: true},
			{Group: "map", Bytes: 5},
		}}
		if !reflect.DeepEqual(e, want) {
			t.Errorf("error %+v\n want %+v", e, want)
		}
		text := "new needs 40 B, 29 B of 100 B are free and the rest is in use by 5 models: " +
			"held 33 B 3 references, pin 20 B pinned, old 7 B 1 reference, 2 more (modelfs ps)"
		if err.Error() != text {
			t.Errorf("error %v\n want %s", err, text)
		}
		wantErr(t, b.Group("new").LastError, ErrNoRoom)
		b.wantGone("idle/1 room")
		loads.cancel()
	})
}

func TestNoRoomText(t *testing.T) {
	holders := []Holder{{Group: "a", Bytes: 290 << 20, Loading: true}, {Group: "b", Bytes: 1536}}
	for _, c := range []struct {
		err  NoRoomError
		want string
	}{
		{NoRoomError{Group: "m", Need: 2 << 30, Budget: 3 << 30, Free: 1 << 40, Holders: holders},
			"m needs 2.0 GiB, 1.0 TiB of 3.0 GiB are free and the rest is in use by 2 models: a 290 MiB loading, b 1.5 KiB mapped (modelfs ps)"},
		{NoRoomError{Group: "m", Need: 1, Budget: 2, Manual: true, Holders: holders[1:]},
			"m needs 1 B, 0 B of 2 B are free and the rest is in use by 1 model: b 1.5 KiB until evicted (modelfs ps)"},
		{NoRoomError{Group: "m", MaxGroups: 1, Holders: holders},
			"m cannot be loaded: the maximum of 1 model is reached and all of them are in use or pinned (modelfs ps)"},
		{NoRoomError{Group: "m", MaxGroups: 2, Manual: true, Holders: holders},
			"m cannot be loaded: the maximum of 2 models is reached and the policy is manual: evict one first (modelfs evict)"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("error %s\n want %s", got, c.want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 100 << 10: "100 KiB", 1 << 20: "1.0 MiB",
		5 << 29: "2.5 GiB", 1 << 40: "1.0 TiB", 1 << 62: "4194304 TiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// TestInOrder: small loads do not take what a large one that came before has freed.
func TestInOrder(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 3}, func(t *testing.T, b *bench) {
		end := make(chan error)
		b.evict = func(string, string) error { return <-end }
		b.put("a", "b", "c")
		large := b.begin("large", 3, b.load("large"))
		first := b.begin("first", 1, b.load("first"))
		second := b.begin("second", 1, b.load("second"))
		for range 3 {
			b.waits(large, first, second)
			b.wantStats(fmt.Sprintf("hits 0 misses 6 loads 3 failures 0 evictions %d resident %d lingering 0 reserved 0",
				len(b.Victims()), 3-len(b.Victims())))
			end <- nil
		}
		b.value(large)
		b.failed(first, ErrNoRoom)
		b.failed(second, ErrNoRoom)
		b.wantGone("a room", "b room", "c room")
	})
}

// TestInOrderOfArrival: those who wait for their turn get it one by one. Who finds the
// room taken by a load that has not ended does not wait for it, so that not all of them
// need be among the victims.
func TestInOrderOfArrival(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 1}, func(t *testing.T, b *bench) {
		end := make(chan error)
		b.put("a")
		b.evict = func(string, string) error { return <-end }
		var keys []string
		for i := range 20 {
			k := fmt.Sprint("n", i)
			keys = append(keys, k)
			b.Start(k, 1, b.load(k))
			synctest.Wait()
		}
		b.evict = nil
		end <- nil
		synctest.Wait()
		var got []string
		for _, v := range b.Victims()[1:] {
			got = append(got, v.Key)
		}
		rest := keys
		for _, k := range got {
			i := slices.Index(rest, k)
			if i < 0 {
				t.Fatalf("loaded %q, not in the order of %q", got, keys)
			}
			rest = rest[i+1:]
		}
	})
}

// TestReferencesAreNotWaitedFor, but what is being freed already is.
func TestReferencesAreNotWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name        string
		answer, err error
	}{
		{"freed", nil, nil},
		{"busy", ErrBusy, ErrNoRoom},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Config[string, string]{Budget: 2}, func(t *testing.T, b *bench) {
				b.put("a")
				b.get("b", 1)
				wantErr(t, b.fails("c", 2), ErrNoRoom)
				b.put("a")
				end := make(chan error)
				b.evict = func(string, string) error { return <-end }
				go func() { _ = b.Evict("a") }()
				synctest.Wait()
				waits := b.begin("c", 1, b.load("c"))
				b.waits(waits)
				end <- c.answer
				b.failed(waits, c.err)
			})
		})
	}
}

// TestFreedForNobody: a load that nobody waits for any more frees no more.
func TestFreedForNobody(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 3}, func(t *testing.T, b *bench) {
		end := make(chan error)
		b.put("a", "b", "c")
		b.evict = func(string, string) error { return <-end }
		first, queued := b.begin("d", 3, b.load("d")), b.begin("e", 3, b.load("e"))
		for _, c := range []*caller{queued, first} {
			c.cancel()
			b.failed(c, context.Canceled)
		}
		b.evict = nil
		end <- nil
		synctest.Wait()
		b.wantGone("a room")
		b.want("b c")
	})
}

func TestMaxGroups(t *testing.T) {
	last := func(k string) bool { return strings.HasPrefix(k, "last") }
	for _, c := range []struct {
		name   string
		policy Policy
		use    string
		want   []string
	}{
		{"LRU", LRU, "a/1 b/1 a/2", []string{"b/1 max"}},
		{"LRU, whole", LRU, "a/2 a/1 b/1", []string{"a/2 max", "a/1 max"}},
		{"LFU", LFU, "a/1 a/1 a/1 b/1 b/2", []string{"b/1 max", "b/2 max"}},
		{"LFU, as often", LFU, "a/1 a/2 b/1 b/1 a/1 b/1", []string{"a/2 max", "a/1 max"}},
		{"Config.Last", LRU, "last/1 b/1", []string{"b/1 max"}},
		{"pinned", LRU, "pin/1 b/1", []string{"b/1 max"}},
		{"held", LRU, "held/1 held/2 b/1", []string{"b/1 max"}},
		{"mapped", LRU, "map/1 map/2 b/1", []string{"b/1 max"}},
		{"its own group", LRU, "new/2 b/1 b/2", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Config[string, string]{Policy: c.policy, MaxGroups: 2, Last: last}, func(t *testing.T, b *bench) {
				b.Pin("pin")
				b.use("map/2#2", true)
				for k := range strings.FieldsSeq(c.use) {
					if l := b.get(k, 1); k != "held/1" {
						l.Release()
					}
				}
				b.put("new/1")
				b.wantGone(c.want...)
			})
		})
	}
}

func TestMaxGroupsReached(t *testing.T) {
	bubble(t, Config[string, string]{MaxGroups: 3}, func(t *testing.T, b *bench) {
		b.put("map/1", "map/2")
		b.use("map/2#2", true)
		b.get("held/1", 3)
		load, end := b.slow("load/1")
		c := b.begin("load/1", 9, load)
		err := b.fails("new/1", 1)
		want := &NoRoomError{Group: "new", Need: 1, MaxGroups: 3, Holders: []Holder{
			{Group: "load", Bytes: 9, Loading: true}, {Group: "held", Bytes: 3, Refs: 1}, {Group: "map", Bytes: 2},
		}}
		var e *NoRoomError
		if wantErr(t, err, ErrNoRoom); !errors.As(err, &e) || !reflect.DeepEqual(e, want) {
			t.Errorf("error %+v\n want %+v", e, want)
		}
		b.want("held/1 map/1 map/2")
		end <- errOrigin // its place is free now
		b.failed(c, errOrigin)
		b.put("new/1", "new/2")
		b.want("held/1 map/1 map/2 new/1 new/2")
	})
}

// TestMaxGroupsThenBudget: what a group's end does not free, items do.
func TestMaxGroupsThenBudget(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 6, MaxGroups: 2}, func(t *testing.T, b *bench) {
		b.put("a/1", "a/2", "b/1", "b/2", "b/3", "b/4")
		b.get("c/1", 3).Release()
		b.wantGone("a/1 max", "a/2 max", "b/1 room")
	})
}

// TestMaxGroupsWaits for a group that is leaving already.
func TestMaxGroupsWaits(t *testing.T) {
	bubble(t, Config[string, string]{MaxGroups: 2}, func(t *testing.T, b *bench) {
		b.put("a/1", "b/1", "b/2")
		end := make(chan error)
		b.evict = func(string, string) error { return <-end }
		go func() { _ = b.EvictGroup("b") }()
		synctest.Wait()
		c := b.begin("c/1", 1, b.load("c/1"))
		b.waits(c)
		end <- nil
		b.waits(c)
		end <- nil
		b.value(c)
		b.wantGone("b/1 asked", "b/2 asked")
	})
}

// TestMaxGroupsTwice: while a group leaves for one, the next who needs a place
// waits its turn.
func TestMaxGroupsTwice(t *testing.T) {
	bubble(t, Config[string, string]{MaxGroups: 2}, func(t *testing.T, b *bench) {
		end := make(chan error)
		b.put("a/1", "b/1")
		b.evict = func(string, string) error { return <-end }
		c, d := b.begin("c/1", 1, b.load("c/1")), b.begin("d/1", 1, b.load("d/1"))
		back := b.begin("a/1", 1, b.load("a/1"))
		b.waits(c, d, back)
		end <- nil
		b.value(c)
		b.waits(d, back)
		end <- nil
		b.value(d)
		b.failed(back, ErrNoRoom)
		b.wantGone("a/1 max", "b/1 max")
	})
}
