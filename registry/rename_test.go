// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestRename: an item is found under its new key alone, and counts for its new group
// with all that it has.
func TestRename(t *testing.T) {
	last := func(k string) bool { return strings.HasPrefix(k, "pipe/") }
	bubble(t, Config[string, string]{Budget: 10, Last: last}, func(t *testing.T, b *bench) {
		held := b.get("unet/w", 3)
		b.put("unet/x", "other/y")
		if !b.Rename("unet/w", "pipe/w") || !b.Rename("unet/x", "pipe/x") {
			t.Fatal("not renamed")
		}
		check(t, b.Registry)
		b.want("other/y pipe/w pipe/x")
		if g, old := b.Group("pipe"), b.Group("unet"); g.Resident != 4 || g.Refs != 1 || g.Items != 2 || old.Resident != 0 || old.Refs != 0 || old.Items != 0 || g.LoadedAt.IsZero() || g.LastUsed.IsZero() {
			t.Errorf("%+v, %+v", g, old)
		}
		for from, to := range map[string]string{"unet/w": "pipe/z", "pipe/w": "pipe/x", "absent/a": "absent/b"} {
			if b.Rename(from, to) {
				t.Errorf("%s became %s", from, to)
			}
		}
		held.Release()
		b.SetTTL("pipe", time.Second)
		b.put("p/1", "p/2", "p/3", "p/4", "p/5", "p/6") // others go before what is last now
		b.want("p/1 p/2 p/3 p/4 p/5 p/6 pipe/w pipe/x")
		time.Sleep(2 * time.Second)
		b.Sweep()
		b.want("p/1 p/2 p/3 p/4 p/5 p/6")
	})
}

// TestRenameOfLeaving: what is being freed keeps its key.
func TestRenameOfLeaving(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 10}, func(t *testing.T, b *bench) {
		b.put("a/1")
		b.evict = func(string, string) error {
			if b.Rename("a/1", "b/1") {
				t.Error("renamed while it is freed")
			}
			return nil
		}
		if err := b.Evict("a/1"); err != nil {
			t.Error(err)
		}
		b.want("")
	})
}

// TestGuard: what is guarded does not go for room, and is not used more by that.
func TestGuard(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 2}, func(t *testing.T, b *bench) {
		b.put("a/1", "a/2")
		release := b.Guard("a/1", "a/2", "absent")
		if err := b.Reserve(context.Background(), "a", 1); err == nil {
			t.Error("room for what is written, at the cost of what is guarded")
		}
		b.wantStats("hits 0 misses 2 loads 2 failures 0 evictions 0 resident 2 lingering 0 reserved 0")
		b.Doom("a/2")
		release()
		release()
		b.want("a/1")
		if err := b.Reserve(context.Background(), "a", 2); err != nil {
			t.Error(err)
		}
		b.Unreserve("a", 2)
	})
}

// TestGroupsEnd: names that come and go leave nothing behind.
func TestGroupsEnd(t *testing.T) {
	apart := func(name string) bool { return strings.HasPrefix(name, "/") }
	group := func(k string) string { return k[:strings.LastIndexByte(k, '/')] }
	bubble(t, Config[string, string]{Budget: 100, MaxGroups: 1, Group: group, Apart: apart, TTL: time.Hour}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		b.put("model/w")
		for i := range 10 {
			session, object := fmt.Sprint("/sessions/", i), fmt.Sprint("/objects/", i)
			if err := b.Reserve(ctx, session, 2); err != nil {
				t.Fatal(err)
			}
			if err := b.Reserve(ctx, object, 2); err != nil {
				t.Fatal(err)
			}
			b.SetTTL(object, time.Minute)
			if !b.Put(object+"/f", 2, "v", object) || b.TTL(object) != time.Minute {
				t.Fatal("not an item, or without its time to live")
			}
			b.Unreserve(session, 2)
		}
		b.want(b.have())
		if g := b.Group("model"); g.Items != 1 {
			t.Error("objects count as models")
		}
		b.EvictIdle()
		b.Registry.mu.Lock()
		defer b.Registry.mu.Unlock()
		if len(b.groups) != 1 {
			t.Errorf("%d groups are known", len(b.groups))
		}
	})
}
