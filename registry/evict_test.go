// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestVictims uses items until they fill the budget, and asks who goes for others.
func TestVictims(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		use    string // one after the other; +: without a reference
		want   string
	}{
		{"LRU", LRU, "a b c", "a b c"},
		{"LRU, used again", LRU, "a b c a", "b c a"},
		{"LRU does not count", LRU, "a a a b c", "a b c"},
		{"LRU, touched", LRU, "a b c +b +a +nobody", "c b a"},
		{"LFU", LFU, "a a a b b c", "c b a"},
		{"LFU, as often", LFU, "a b c b a c a", "b c a"},
		{"LFU, touched", LFU, "a b c +a +a +b", "c b a"},
		{"Config.Last", LRU, "last1 last2 a last1", "a last2 last1"},
		{"Config.Last with LFU", LFU, "a a a last b b", "b a last"},
		{"pinned", LRU, "pin a b", "a b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config[string, string]{
				Policy: c.policy, Budget: 3,
				Last: func(k string) bool { return strings.HasPrefix(k, "last") },
			}
			bubble(t, cfg, func(t *testing.T, b *bench) {
				b.Pin("pin")
				for k := range strings.FieldsSeq(c.use) {
					if touched, ok := strings.CutPrefix(k, "+"); ok {
						b.Touch(touched)
					} else {
						b.put(k)
					}
				}
				var want []string
				for k := range strings.FieldsSeq(c.want) {
					want = append(want, k+" room")
				}
				b.get("large", int64(len(want))).Release()
				b.wantGone(want...)
			})
		})
	}
}

// TestEvictNext: one goes at each call, in the order of room's victims, and none that
// is held, pinned, in use or marked by Config.Last.
func TestEvictNext(t *testing.T) {
	cfg := Config[string, string]{Last: func(k string) bool { return k == "last" }}
	bubble(t, cfg, func(t *testing.T, b *bench) {
		if b.EvictNext("") {
			t.Error("one went of none")
		}
		b.Pin("pinned")
		b.put("pinned", "a", "used", "last", "b")
		held := b.get("held", 1)
		b.use("used#3", true)
		for b.EvictNext("files") {
		}
		b.wantGone("a room", "b room")
		b.use("used#3", false)
		b.Retry()
		held.Release()
		for b.EvictNext("") {
		}
		b.wantGone("a room", "b room", "used room", "held room")
		b.want("last pinned")
	})
}

// TestReferenceKeeps: an item with references is nobody's victim, and its use ends
// with the last one.
func TestReferenceKeeps(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 3, TTL: time.Minute}, func(t *testing.T, b *bench) {
		held, again := b.get("a", 1), b.get("a", 1)
		b.put("b", "c")
		time.Sleep(time.Hour)
		b.Sweep()
		b.wantGone("b ttl", "c ttl")
		b.put("b", "c")
		held.Release()
		_, err := b.Acquire(t.Context(), "d", 3, b.load("d"))
		wantErr(t, err, ErrNoRoom)
		again.Release()
		b.put("d", "e", "f")
		b.wantGone("b ttl", "c ttl", "b room", "c room", "a room")
	})
}

func TestManual(t *testing.T) {
	cfg := Config[string, string]{Policy: Manual, Budget: 2, MaxGroups: 2, TTL: time.Minute}
	bubble(t, cfg, func(t *testing.T, b *bench) {
		b.put("a/1", "b/1")
		wantErr(t, b.fails("a/2", 1), ErrNoRoom)
		wantErr(t, b.fails("c/1", 0), ErrNoRoom)
		b.wantGone()
		wantErr(t, b.Evict("b/1"), nil)
		b.put("a/2")
		time.Sleep(time.Minute)
		b.Sweep()
		b.put("c/1")
		b.wantGone("b/1 asked", "a/1 ttl", "a/2 ttl")
	})
}

// TestManualDoomed: what nobody can find any more goes without being asked.
func TestManualDoomed(t *testing.T) {
	bubble(t, Config[string, string]{Policy: Manual, Budget: 2}, func(t *testing.T, b *bench) {
		b.put("a/1", "b/1")
		b.use("a/1#1", true)
		b.Doom("a/1")
		b.use("a/1#1", false)
		b.put("c/1")
		b.wantGone("a/1 doomed")
	})
}

func TestPin(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 2, TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.Pin("m") // nothing is resident yet
		if !b.Pinned("m") || b.Pinned("n") {
			t.Error("pinned are not those that are")
		}
		b.put("m/1", "n/1")
		wantErr(t, b.Evict("m/1"), ErrPinned)
		wantErr(t, b.EvictGroup("m"), ErrPinned)
		if freed, busy := b.EvictIdle(); freed != 1 || busy != 0 {
			t.Errorf("%d freed, %d busy", freed, busy)
		}
		time.Sleep(time.Hour)
		if wait := b.Sweep(); wait != 0 {
			t.Errorf("sweep again in %v", wait)
		}
		wantErr(t, b.fails("n/1", 2), ErrNoRoom)
		b.want("m/1")
		b.Unpin("m")
		b.Unpin("nobody")
		b.Sweep()
		b.wantGone("n/1 asked", "m/1 ttl")
		if b.Pinned("m") {
			t.Error("still pinned")
		}
	})
}

func TestEvict(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		wantErr(t, b.Evict("m/1"), nil)
		load, end := b.slow("m/1")
		c := b.begin("m/1", 1, load)
		wantErr(t, b.Evict("m/1"), nil) // a load is not touched
		end <- nil
		b.value(c)
		wantErr(t, b.Evict("m/1"), ErrBusy)
		c.lease.Release()
		wantErr(t, b.Evict("m/1"), nil)
		b.want("")
		b.wantGone("m/1 asked")
		if l := b.get("m/1", 1); l.Value() != "m/1#2" {
			t.Errorf("value %s", l.Value())
		}
	})
}

// TestEvictFails: an error other than ErrBusy and a panic keep the item, and the
// clock asks again.
func TestEvictFails(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errOrigin },
		"panic": func() error { panic(errOrigin.Error()) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
				b.put("m/1")
				b.evict = func(string, string) error { return fail() }
				if err := b.Evict("m/1"); err == nil || !strings.Contains(err.Error(), errOrigin.Error()) {
					t.Errorf("error %v", err)
				}
				if freed, busy := b.EvictIdle(); freed != 0 || busy != 0 {
					t.Errorf("%d freed, %d busy", freed, busy)
				}
				time.Sleep(time.Minute)
				if wait := b.Sweep(); wait != time.Minute {
					t.Errorf("sweep again in %v", wait)
				}
				b.want("m/1")
				b.evict = nil
				time.Sleep(time.Minute)
				b.Sweep()
				b.want("")
			})
		})
	}
}

// TestBusy: what somebody uses unseen stays, off the clock, until Retry.
func TestBusy(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 2, TTL: time.Minute}, func(t *testing.T, b *bench) {
		asked := 0
		b.evict = func(string, string) error { asked++; return nil }
		b.put("m/1")
		b.use("m/1#1", true)
		wantErr(t, b.Evict("m/1"), ErrBusy)
		time.Sleep(time.Hour)
		if wait := b.Sweep(); wait != 0 || asked != 1 {
			t.Errorf("sweep again in %v, asked %d times", wait, asked)
		}
		b.get("m/1", 1).Release() // its value is as it was
		b.wantStats("hits 1 misses 1 loads 1 failures 0 evictions 0 resident 1 lingering 0 reserved 0")
		time.Sleep(time.Minute)
		if wait := b.Sweep(); wait != 0 || asked != 2 { // used since
			t.Errorf("sweep again in %v, asked %d times", wait, asked)
		}
		if n := b.Retry(); n != 0 || asked != 2 { // still mapped: only InUse is asked
			t.Errorf("%d freed, asked %d times", n, asked)
		}
		b.use("m/1#1", false)
		woken := b.wakes
		if n := b.Retry(); n != 0 || b.wakes != woken+1 {
			t.Errorf("%d freed, woken %d times", n, b.wakes-woken)
		}
		if wait := b.Sweep(); wait != time.Minute {
			t.Errorf("sweep again in %v", wait)
		}
		time.Sleep(time.Minute)
		b.Sweep()
		b.wantGone("m/1 ttl")
	})
}

// TestBusyIsLast: who refused is asked after all others, once for each that needs
// room.
func TestBusyIsLast(t *testing.T) {
	for name, before := range map[string]func(b *bench){
		"refused the first who needed room": func(b *bench) {
			b.put("m/1", "m/2", "m/3")
			wantErr(b.t, b.fails("m/4", 3), ErrNoRoom)
			b.put("m/2", "m/3")
		},
		"refused Evict": func(b *bench) {
			b.put("m/1")
			wantErr(b.t, b.Evict("m/1"), ErrBusy)
			b.put("m/2", "m/3")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config[string, string]{Budget: 3}, func(t *testing.T, b *bench) {
				var asked []string
				b.use("m/1#1", true)
				before(b)
				b.evict = func(k, _ string) error { asked = append(asked, k); return nil }
				wantErr(t, b.fails("n/1", 3), ErrNoRoom)
				if got := strings.Join(asked, " "); got != "m/2 m/3 m/1" {
					t.Errorf("asked %s", got)
				}
			})
		})
	}
}

// TestRetry: first who was used first; the others' time to live begins now.
func TestRetry(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 3, TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.put("m/1", "m/2", "m/3")
		for _, v := range []string{"m/1#1", "m/2#2"} {
			b.use(v, true)
		}
		b.Doom("m/2")
		b.Doom("m/1")
		time.Sleep(time.Second)
		if n := b.Retry(); n != 0 {
			t.Errorf("%d freed", n)
		}
		b.use("m/1#1", false)
		b.use("m/2#2", false)
		time.Sleep(time.Second)
		if n := b.Retry(); n != 2 {
			t.Errorf("%d freed", n)
		}
		b.wantGone("m/2 doomed", "m/1 doomed")
		if wait := b.Sweep(); wait != time.Minute-time.Second { // m/3 was asked a second ago
			t.Errorf("sweep again in %v", wait)
		}
	})
}

// TestRetryWhileEvicting: an answer may be older than the Retry that passed over it.
func TestRetryWhileEvicting(t *testing.T) {
	for _, doomed := range []bool{false, true} {
		bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
			b.put("m/1")
			asked := 0
			b.evict = func(_, v string) error {
				if asked++; asked > 1 {
					return nil
				}
				if doomed {
					b.Doom("m/1")
				}
				b.Retry()
				return ErrBusy
			}
			wantErr(t, b.Evict("m/1"), map[bool]error{false: ErrBusy, true: nil}[doomed])
			time.Sleep(time.Minute)
			b.Sweep()
			b.want("")
			if asked != 2 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// TestDoomWhileAsked: a Retry that asks about an item must not forget that it was
// doomed meanwhile.
func TestDoomWhileAsked(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		b.put("m/1")
		b.inUse = func(k, _ string) error { b.Doom(k); return nil }
		b.evict = func(string, string) error { return errOrigin }
		b.Retry()
		b.want("")
		b.evict = nil
		if n := b.Retry(); n != 1 {
			t.Errorf("%d freed", n)
		}
	})
}

func TestDoomAbsent(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		b.Doom("m/1")
		b.put("m/1")
		b.want("m/1")
	})
}

// TestDoomLoading: who waits gets the old generation, who comes later the new one.
func TestDoomLoading(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 3}, func(t *testing.T, b *bench) {
		load, end := b.slow("m/1")
		b.Start("m/1", 1, load)
		owner, other := b.begin("m/1", 1, load), b.begin("m/1", 1, load)
		b.Doom("m/1")
		fresh := b.get("m/1", 2)
		b.waits(owner, other)
		end <- nil
		if v := b.value(owner); v != "m/1#2" || b.value(other) != v || fresh.Value() != "m/1#1" {
			t.Errorf("values %s and %s", v, fresh.Value())
		}
		b.wantStats("hits 0 misses 4 loads 2 failures 0 evictions 0 resident 2 lingering 1 reserved 0")
		if keys := b.Keys("m"); len(keys) != 1 {
			t.Errorf("keys %q", keys)
		}
		owner.lease.Release()
		b.wantGone()
		other.lease.Release()
		b.wantGone("m/1 doomed")
		b.want("m/1")
	})
}

// TestDoomLoadingFails: each waiter of a doomed load still gets its own.
func TestDoomLoadingFails(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		load, end := b.slow("m/1")
		owner, other := b.begin("m/1", 1, load), b.begin("m/1", 1, b.load("m/1"))
		b.Doom("m/1")
		b.put("m/1")
		end <- errOrigin
		b.failed(owner, errOrigin)
		if v := b.value(other); v != "m/1#2" {
			t.Errorf("value %s", v)
		}
		other.lease.Release()
		b.wantGone("m/1 doomed")
		b.want("m/1")
	})
}

// TestDoomBackground: a load that nobody waits for is cancelled.
func TestDoomBackground(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 1}, func(t *testing.T, b *bench) {
		load, _ := b.slow("m/1")
		b.Start("m/1", 1, load)
		synctest.Wait()
		b.Doom("m/1")
		synctest.Wait()
		b.wantStats("hits 0 misses 1 loads 0 failures 0 evictions 0 resident 0 lingering 0 reserved 0")
		b.put("m/1")
	})
}

// TestDoomArrives: a load that does not heed its end arrives doomed, and goes.
func TestDoomArrives(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		end := make(chan struct{})
		c := b.begin("m/1", 1, func(context.Context) (string, error) { <-end; return "old", nil })
		b.Doom("m/1")
		c.cancel()
		b.failed(c, context.Canceled)
		close(end)
		synctest.Wait()
		b.wantGone("m/1 doomed")
		b.wantStats("hits 0 misses 1 loads 1 failures 0 evictions 1 resident 0 lingering 0 reserved 0")
	})
}

func TestDoomResident(t *testing.T) {
	bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.Pin("m") // in vain
		b.put("m/1")
		b.Doom("m/1")
		b.wantGone("m/1 doomed")

		held := b.get("m/1", 2)
		b.Doom("m/1")
		b.Doom("m/1")
		if v := b.get("m/1", 3); v.Value() != "m/1#3" || held.Value() != "m/1#2" {
			t.Errorf("values %s and %s", v.Value(), held.Value())
		}
		b.wantStats("hits 0 misses 3 loads 3 failures 0 evictions 1 resident 3 lingering 2 reserved 0")
		time.Sleep(time.Hour)
		b.Sweep()
		b.wantGone("m/1 doomed")
		held.Release()
		b.wantGone("m/1 doomed", "m/1 doomed")
		b.want("m/1")
	})
}

// TestDoomMapped: it goes at Retry, or before all others when room is needed.
func TestDoomMapped(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 3}, func(t *testing.T, b *bench) {
		b.put("m/1", "m/2")
		b.use("m/2#2", true)
		b.Doom("m/2")
		b.put("m/2")
		b.wantStats("hits 0 misses 3 loads 3 failures 0 evictions 0 resident 2 lingering 1 reserved 0")
		b.put("m/3") // m/2 refused: m/1 is asked first
		b.wantGone("m/1 room")
		b.get("m/2", 1).Release()
		b.use("m/2#2", false)
		if n := b.Retry(); n != 1 {
			t.Errorf("%d freed", n)
		}
		b.wantGone("m/1 room", "m/2 doomed")
		b.want("m/2 m/3")
	})
}

// TestDoomEvicting: an eviction that fails leaves the item doomed.
func TestDoomEvicting(t *testing.T) {
	for _, c := range []struct {
		name        string
		answer, err error
		gone        string
	}{
		{"freed", nil, nil, "m/1 asked"},
		{"busy", ErrBusy, ErrBusy, "m/1 doomed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
				b.put("m/1")
				b.evict = func(k, _ string) error {
					b.evict = nil
					b.Doom(k)
					return c.answer
				}
				wantErr(t, b.Evict("m/1"), c.err)
				b.want("")
				b.Retry()
				b.wantGone(c.gone)
				b.put("m/1")
			})
		})
	}
}

func TestEvictGroup(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		wantErr(t, b.EvictGroup("nobody"), nil)
		b.put("m/2", "m/1", "n/1")
		load, end := b.slow("m/3")
		loads := b.begin("m/3", 1, load)
		held := b.get("m/2", 1)
		wantErr(t, b.EvictGroup("m"), ErrBusy)
		b.use("m/1#2", true)
		held.Release()
		err := b.EvictGroup("m")
		if wantErr(t, err, ErrBusy); err != nil && !strings.Contains(err.Error(), "m is mapped") {
			t.Errorf("error %v", err)
		}
		b.want("m/1 m/2 n/1")
		b.use("m/1#2", false)
		wantErr(t, b.EvictGroup("m"), nil)
		b.wantGone("m/1 asked", "m/2 asked")
		end <- nil
		b.value(loads)
		b.want("m/3 n/1")
	})
}

// TestEvictGroupChanges: what Doom and Retry pass over while a group's items are
// asked is made up for, if none of them goes.
func TestEvictGroupChanges(t *testing.T) {
	bubble(t, Config[string, string]{TTL: time.Minute}, func(t *testing.T, b *bench) {
		b.put("m/1", "m/2", "m/3")
		b.use("m/2#2", true)
		wantErr(t, b.Evict("m/2"), ErrBusy)
		b.put("m/3")
		b.inUse = func(k, _ string) error {
			b.inUse = nil
			b.Doom("m/1")
			b.use("m/2#2", false)
			b.Retry()
			return ErrBusy
		}
		wantErr(t, b.EvictGroup("m"), ErrBusy)
		b.wantGone("m/1 doomed")
		time.Sleep(time.Minute)
		b.Sweep()
		b.wantGone("m/1 doomed", "m/2 ttl", "m/3 ttl")
	})
}

// TestEvictGroupWaits for what others evict of it.
func TestEvictGroupWaits(t *testing.T) {
	for _, answer := range []error{nil, ErrBusy} {
		bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
			end := make(chan error)
			b.put("m/1", "m/2")
			b.evict = func(k, _ string) error {
				if k == "m/1" {
					return <-end
				}
				return nil
			}
			go func() { wantErr(t, b.Evict("m/1"), answer) }()
			synctest.Wait()
			var err error
			over := false
			go func() {
				err = b.EvictGroup("m")
				over = true
			}()
			synctest.Wait()
			if over {
				t.Error("the group is evicted before its item")
			}
			end <- answer
			synctest.Wait()
			if !over || !errors.Is(err, answer) {
				t.Errorf("evicted: %v, %v", over, err)
			}
			b.wantGone(map[bool][]string{true: {"m/2 asked", "m/1 asked"}, false: {"m/2 asked"}}[answer == nil]...)
		})
	}
}

func TestEvictIdle(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		b.Pin("pin")
		b.put("m/2", "m/1", "n/1", "pin/1")
		held := b.get("m/3", 1)
		b.use("n/1#3", true)
		if freed, busy := b.EvictIdle(); freed != 2 || busy != 2 {
			t.Errorf("%d freed, %d busy", freed, busy)
		}
		b.wantGone("m/2 asked", "m/1 asked")
		b.want("m/3 n/1 pin/1")
		held.Release()
	})
}

// TestWhileEvicting: nobody gets a value that is being freed.
func TestWhileEvicting(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer error
		value  string
	}{
		{"freed", nil, "m/1#2"},
		{"busy", ErrBusy, "m/1#1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
				end := make(chan error)
				b.put("m/1")
				b.evict = func(string, string) error { return <-end }
				go func() { _ = b.Evict("m/1") }()
				synctest.Wait()
				one, two, left := b.begin("m/1", 1, b.load("m/1")), b.begin("m/1", 1, b.load("m/1")), b.begin("m/1", 1, b.load("m/1"))
				b.waits(one, two, left)
				if _, ok := b.TryAcquire("m/1"); ok {
					t.Error("a reference on what is being freed")
				}
				b.Start("m/1", 1, b.load("m/1"))
				left.cancel()
				b.failed(left, context.Canceled)
				b.evict = nil
				end <- c.answer
				if b.value(one) != c.value || b.value(two) != c.value {
					t.Errorf("values %s and %s, want %s", b.value(one), b.value(two), c.value)
				}
			})
		})
	}
}

// TestEvictTwice: the second one waits, and asks anew if the first was refused.
func TestEvictTwice(t *testing.T) {
	for _, answer := range []error{nil, ErrBusy} {
		bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
			end, asked := make(chan error), 0
			b.put("m/1")
			b.evict = func(string, string) error { asked++; return <-end }
			first, second := make(chan error, 1), make(chan error, 1)
			go func() { first <- b.Evict("m/1") }()
			synctest.Wait()
			go func() { second <- b.Evict("m/1") }()
			synctest.Wait()
			if asked != 1 || len(second) > 0 {
				t.Errorf("asked %d times", asked)
			}
			end <- answer
			wantErr(t, <-first, answer)
			if answer != nil {
				end <- nil
			}
			wantErr(t, <-second, nil)
			b.wantGone("m/1 asked")
		})
	}
}
