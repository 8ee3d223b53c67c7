// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestReserve: what is written takes room from items, and is no item.
func TestReserve(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 4, MaxGroups: 3}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		b.put("a", "b", "c")
		if err := b.Reserve(ctx, "camera", 1); err != nil {
			t.Fatal(err)
		}
		b.want("a b c")
		if err := b.Reserve(ctx, "camera", 2); err != nil {
			t.Fatal(err)
		}
		b.want("c")
		held := b.get("c", 1)
		var full *NoRoomError
		if err := b.Reserve(ctx, "mic", 1); !errors.As(err, &full) || !strings.Contains(err.Error(), "camera 3 B written by a process, c 1 B 1 reference") {
			t.Errorf("with the budget full: %v", err)
		}
		if _, err := b.Acquire(ctx, "d", 2, b.load("d")); !errors.As(err, &full) || full.Free != 0 {
			t.Errorf("a load with the budget full: %v", err)
		}
		if s := b.Stats(); s.Written != 3 || s.Resident != 1 || s.Reserved != 0 {
			t.Errorf("%+v", s)
		}
		b.Unreserve("camera", 3)
		held.Release()
		b.put("d", "e")
		b.want("c d e")
		if err := b.Reserve(ctx, "camera", -1); err == nil {
			t.Error("a negative number is taken")
		}
	})
}

// TestReserveWaits: for room that is being freed, and not longer than its context.
func TestReserveWaits(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 1}, func(t *testing.T, b *bench) {
		b.put("a")
		b.evict = func(string, string) error { time.Sleep(time.Second); return nil }
		start := time.Now()
		if err := b.Reserve(context.Background(), "s", 1); err != nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		b.Unreserve("s", 1)
	})
}

// TestPut: written bytes become an item's, which goes last.
func TestPut(t *testing.T) {
	last := func(k string) bool { return strings.HasPrefix(k, "published") }
	bubble(t, Config[string, string]{Budget: 3, Last: last}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		if err := b.Reserve(ctx, "published", 2); err != nil {
			t.Fatal(err)
		}
		if !b.Put("published/w", 2, "value", "published") {
			t.Fatal("not taken")
		}
		if b.Put("published/w", 2, "value", "published") {
			t.Error("taken twice")
		}
		if s := b.Stats(); s.Written != 0 || s.Resident != 2 || s.Loads != 0 {
			t.Errorf("%+v", s)
		}
		if l := b.get("published/w", 2); l.Value() != "value" || b.loads != 0 {
			t.Errorf("%q after %d loads", l.Value(), b.loads)
		} else {
			l.Release()
		}
		b.put("a", "b") // a goes for b, not what was used before both
		b.want("b published/w")
		held := b.get("b", 1)
		if err := b.Reserve(ctx, "s", 1); err != nil {
			t.Fatal(err)
		}
		b.wantGone("a room", "published/w room")
		b.Unreserve("s", 1)
		held.Release()
	})
}
