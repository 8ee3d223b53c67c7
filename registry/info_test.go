// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStats(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 3, MaxGroups: 2, TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.put("a/1", "a/1", "b/1") // a hit, two misses
		if l, ok := b.TryAcquire("a/1"); ok {
			l.Release()
		}
		b.TryAcquire("nobody") // neither
		_, err := b.Acquire(t.Context(), "a/2", 1, broken)
		wantErr(t, err, errOrigin)
		b.put("c/1")              // b goes for the maximum
		b.get("a/3", 2).Release() // and a/1 for its bytes
		wantErr(t, b.fails("a/4", 4), ErrNoRoom)
		_ = b.Evict("a/3")
		time.Sleep(time.Hour)
		b.Sweep()
		b.put("a/1")
		b.Doom("a/1")
		held := b.get("a/1", 2)
		b.Doom("a/1")
		load, end := b.slow("a/5")
		c := b.begin("a/5", 1, load)
		b.wantStats("hits 2 misses 9 loads 6 failures 1 evictions 5 resident 0 lingering 2 reserved 1")
		want := map[Reason]int64{ReasonMax: 1, ReasonRoom: 1, ReasonAsked: 1, ReasonTTL: 1, ReasonDoomed: 1}
		if s := b.Stats(); !maps.Equal(s.Evictions, want) {
			t.Errorf("evictions %v, want %v", s.Evictions, want)
		} else {
			s.Evictions[ReasonRoom] = 99 // the caller's own
		}
		if n := b.Stats().Evictions[ReasonRoom]; n != 1 {
			t.Errorf("%d evictions for room", n)
		}
		end <- nil
		held.Release()
		b.value(c)
		b.wantStats("hits 2 misses 9 loads 7 failures 1 evictions 6 resident 1 lingering 0 reserved 0")
	})
}

func TestGroupInfo(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		group := func(want GroupInfo) {
			t.Helper()
			if got := b.Group("m"); got != want {
				t.Errorf("group %+v\n want %+v", got, want)
			}
		}
		group(GroupInfo{})
		_, _ = b.Acquire(t.Context(), "m/1", 1, broken)
		group(GroupInfo{Misses: 1, LastError: errOrigin})
		b.get("m/1", 2).Release()
		loaded := time.Now()
		time.Sleep(time.Second)
		held := b.get("m/1", 2)
		used := time.Now()
		time.Sleep(time.Second)
		load, end := b.slow("m/2")
		c := b.begin("m/2", 3, load)
		b.put("n/1")
		group(GroupInfo{
			Items: 1, Refs: 1, Resident: 2, Reserved: 3, Loads: 1, Hits: 1, Misses: 3,
			LastUsed: used, LoadedAt: loaded, Loading: true,
		})
		end <- nil
		b.value(c)
		c.lease.Release()
		b.Doom("m/1")
		_ = b.Evict("m/2")
		want := GroupInfo{
			Items: 1, Refs: 1, Lingering: 2, Loads: 2, Hits: 1, Misses: 3, Evictions: 1,
			LastUsed: time.Now(), LoadedAt: time.Now(),
		}
		group(want)
		time.Sleep(time.Second)
		held.Release() // the end of a use is a use
		want.Items, want.Refs, want.Lingering, want.Evictions, want.LastUsed = 0, 0, 0, 2, time.Now()
		group(want)
	})
}

func TestKeys(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		b.put("m/1", "m/2", "m/3", "n/1")
		b.get("m/2", 1)
		b.Doom("m/2")
		b.Start("m/4", 1, broken)
		synctest.Wait()
		keys := b.Keys("m")
		slices.Sort(keys)
		if !slices.Equal(keys, []string{"m/1", "m/3"}) || b.Keys("nobody") != nil {
			t.Errorf("keys %q, %q", keys, b.Keys("nobody"))
		}
		wantErr(t, b.EvictGroup("n"), nil)
		if keys := b.Keys("n"); len(keys) != 0 {
			t.Errorf("keys %q", keys)
		}
	})
}

// TestPeek: it is no use, and asks nobody to wait.
func TestPeek(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 2}, func(t *testing.T, b *bench) {
		peek := func(want string, at time.Time) {
			t.Helper()
			if v, used, ok := b.Peek("m/1"); v != want || !used.Equal(at) || ok != (want != "") {
				t.Errorf("value %q, last used %v, %v", v, used, ok)
			}
		}
		peek("", time.Time{})
		load, end := b.slow("m/1")
		b.Start("m/1", 1, load)
		synctest.Wait()
		peek("", time.Time{})
		end <- nil
		synctest.Wait()
		loaded := time.Now()
		time.Sleep(time.Second)
		b.put("m/2")
		peek("m/1#1", loaded)
		b.evict = func(string, string) error {
			peek("m/1#1", loaded)
			return nil
		}
		b.put("m/3")
		b.wantGone("m/1 room")
		peek("", time.Time{})
	})
}

// TestOnChange: after an item became resident, failed or was freed.
func TestOnChange(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 1}, func(t *testing.T, b *bench) {
		var told []string
		b.change = func(k string) {
			_, _, ok := b.Peek(k)
			b.lock(func() { told = append(told, fmt.Sprint(k, " ", ok)) })
		}
		b.put("a")
		synctest.Wait() // it is told after those who wait for the item
		b.put("b")
		synctest.Wait()
		_, _ = b.Acquire(t.Context(), "c", 0, broken)
		synctest.Wait()
		b.use("b#2", true)
		wantErr(t, b.Evict("b"), ErrBusy) // no change
		b.use("b#2", false)
		b.Doom("b")
		if got := strings.Join(told, ", "); got != "a true, a false, b true, c false, b false" {
			t.Errorf("told %s", got)
		}
	})
}

// TestVictimsAreFew: the last ones are remembered, and when they went.
func TestVictimsAreFew(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 1}, func(t *testing.T, b *bench) {
		for i := range remembered + 6 {
			b.put(fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		v := b.Victims()
		if len(v) != remembered || v[0].Key != "5" || v[remembered-1].Key != fmt.Sprint(remembered+4) {
			t.Errorf("%d victims, from %s to %s", len(v), v[0].Key, v[len(v)-1].Key)
		}
		if ago := time.Since(v[remembered-1].At); ago != time.Second {
			t.Errorf("the last one went %v ago", ago)
		}
		v[0].Key = "the caller's own"
		if b.Victims()[0].Key != "5" || b.Stats().EvictionsTotal() != remembered+5 {
			t.Errorf("victims %v, %d evictions", b.Victims()[0], b.Stats().EvictionsTotal())
		}
	})
}

// TestErrorsText: what a person reads of a refusal.
func TestErrorsText(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		one, two := b.get("m/1", 1), b.get("m/1", 1)
		for _, c := range []struct {
			err, is error
			want    string
		}{
			{b.Evict("m/1"), ErrBusy, "2 references: in use"},
			{b.EvictGroup("m"), ErrBusy, "m has 2 references: in use"},
			{func() error { two.Release(); return b.Evict("m/1") }(), ErrBusy, "1 reference: in use"},
			{func() error { one.Release(); b.Pin("m"); return b.Evict("m/1") }(), ErrPinned, "m: pinned"},
			{b.EvictGroup("m"), ErrPinned, "m: pinned"},
		} {
			if !errors.Is(c.err, c.is) || c.err.Error() != c.want {
				t.Errorf("error %v, want %s", c.err, c.want)
			}
		}
	})
}

// TestVictimsNotes: the numbers behind a reason.
func TestVictimsNotes(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 2, MaxGroups: 2, TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.put("a/1", "b/1", "b/1")
		time.Sleep(1500 * time.Millisecond)
		b.put("b/2")
		b.put("b/1", "c/1")
		b.Doom("b/1")
		_ = b.Evict("c/1")
		b.put("d/1")
		time.Sleep(time.Hour)
		b.Sweep()
		want := []string{
			"a/1 room: last used 1.5s ago, 1 use; b needs 1 B",
			"b/2 room: last used 0s ago, 1 use; c needs 1 B",
			"b/1 doomed: another generation is current, or none",
			"c/1 asked",
			"d/1 ttl: not used for 1h0m0s",
		}
		for i, v := range b.Victims() {
			if got := v.Key + " " + v.Reason(); i >= len(want) || got != want[i] || v.Bytes != 1 {
				t.Errorf("victim %d: %s", i, got)
			}
		}
		if n := len(b.Victims()); n != len(want) {
			t.Errorf("%d victims", n)
		}
	})
}
