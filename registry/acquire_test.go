// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneLoad(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 10}, func(t *testing.T, b *bench) {
		load, end := b.slow("m/1")
		var calls []*caller
		for range 10 {
			calls = append(calls, b.begin("m/1", 7, load))
		}
		b.waits(calls...)
		if g := b.Group("m"); !g.Loading || g.Reserved != 7 || g.Resident != 0 {
			t.Errorf("while it loads the group is %+v", g)
		}
		end <- nil
		for _, c := range calls {
			if v := b.value(c); v != "m/1#1" {
				t.Errorf("value %s", v)
			}
		}
		if g := b.Group("m"); g.Loading || g.Refs != 10 || g.Reserved != 0 || g.Resident != 7 {
			t.Errorf("when it has loaded the group is %+v", g)
		}
		b.get("m/1", 7).Release()
		b.wantStats("hits 1 misses 10 loads 1 failures 0 evictions 0 resident 7 lingering 0 reserved 0")
		wantErr(t, b.Evict("m/1"), ErrBusy)
		for _, c := range calls {
			c.lease.Release()
		}
		wantErr(t, b.Evict("m/1"), nil)
		b.want("")
	})
}

// TestReferenceBeforeEviction: OnChange runs before the waiters do, and can evict
// nothing that they will get.
func TestReferenceBeforeEviction(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		var err error
		b.change = func(k string) { err = b.Evict(k) }
		load, end := b.slow("m/1")
		one, two := b.begin("m/1", 1, load), b.begin("m/1", 1, load)
		end <- nil
		if v, w := b.value(one), b.value(two); v != "m/1#1" || w != v {
			t.Errorf("values %s and %s", v, w)
		}
		wantErr(t, err, ErrBusy)
		b.want("m/1")
	})
}

func TestReleaseTwice(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		one, two := b.get("m/1", 1), b.get("m/1", 1)
		one.Release()
		one.Release()
		wantErr(t, b.Evict("m/1"), ErrBusy)
		two.Release()
		wantErr(t, b.Evict("m/1"), nil)
		b.want("")
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		load, end := b.slow("m/1")
		owner, other, last := b.begin("m/1", 1, load), b.begin("m/1", 1, load), b.begin("m/1", 1, load)
		other.cancel()
		b.failed(other, context.Canceled)
		owner.cancel()
		b.failed(owner, context.Canceled)
		b.waits(last)
		end <- nil
		if v := b.value(last); v != "m/1#1" {
			t.Errorf("value %s", v)
		}
		if refs := b.Group("m").Refs; refs != 1 {
			t.Errorf("%d references", refs)
		}
	})
}

func TestContextIsOver(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Acquire(ctx, "m/1", 1, b.load("m/1")); !errors.Is(err, context.Canceled) || b.loads > 0 {
			t.Errorf("absent: %v after %d loads", err, b.loads)
		}
		b.put("m/1")
		l, err := b.Acquire(ctx, "m/1", 1, b.load("m/1"))
		if err != nil {
			t.Fatalf("resident: %v", err)
		}
		l.Release()
		if _, err := b.Acquire(t.Context(), "m/2", -1, b.load("m/2")); err == nil {
			t.Error("an item of -1 bytes")
		}
	})
}

// TestCancelAndArrive: whoever wins, no reference is lost.
func TestCancelAndArrive(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		got, left := 0, 0
		for range 200 {
			load, end := b.slow("m/1")
			one, two := b.begin("m/1", 1, load), b.begin("m/1", 1, load)
			go one.cancel()
			go two.cancel()
			go func() {
				select {
				case end <- nil:
				case <-time.After(time.Second): // all have left
				}
			}()
			for _, c := range []*caller{one, two} {
				switch <-c.done; {
				case c.err == nil:
					got++
					c.lease.Release()
				default:
					left++
					wantErr(t, c.err, context.Canceled)
				}
			}
			time.Sleep(time.Minute)
			if refs := b.Group("m").Refs; refs != 0 {
				t.Fatalf("%d references", refs)
			}
			wantErr(t, b.Evict("m/1"), nil)
		}
		t.Log(got, "arrived,", left, "left")
	})
}

// TestFailureGoesToOne: each caller gets its own load's end, one load at a time.
func TestFailureGoesToOne(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		var calls []*caller
		var ends []chan<- error
		var at []int // whose loads were called
		for i := range 4 {
			load, end := b.slow("m/1")
			ends = append(ends, end)
			calls = append(calls, b.begin("m/1", int64(i), func(ctx context.Context) (string, error) {
				at = append(at, i)
				return load(ctx)
			}))
		}
		ends[0] <- errOrigin
		b.failed(calls[0], errOrigin)
		b.waits(calls[1:]...)
		if len(at) != 2 || at[1] != 1 {
			t.Errorf("loads %v", at)
		}
		calls[2].cancel()
		b.failed(calls[2], context.Canceled)
		ends[1] <- errOrigin
		b.failed(calls[1], errOrigin)
		b.waits(calls[3])
		ends[3] <- nil
		b.value(calls[3])
		if len(at) != 3 || at[2] != 3 {
			t.Errorf("loads %v", at)
		}
		b.wantStats("hits 0 misses 4 loads 1 failures 2 evictions 0 resident 3 lingering 0 reserved 0")
	})
}

// TestOwnerLeaves: a load whose owner has left fails for nobody.
func TestOwnerLeaves(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		load, end := b.slow("m/1")
		owner, other := b.begin("m/1", 1, load), b.begin("m/1", 1, b.load("m/1"))
		owner.cancel()
		b.failed(owner, context.Canceled)
		end <- errOrigin
		b.value(other)
		b.wantStats("hits 0 misses 2 loads 1 failures 1 evictions 0 resident 1 lingering 0 reserved 0")
	})
}

func TestNobodyWaits(t *testing.T) {
	bubble(t, Config[string, string]{Budget: 1, MaxGroups: 1}, func(t *testing.T, b *bench) {
		load, _ := b.slow("m/1")
		one, two := b.begin("m/1", 1, load), b.begin("m/1", 1, load)
		one.cancel()
		b.failed(one, context.Canceled)
		b.waits(two)
		two.cancel()
		b.failed(two, context.Canceled)
		b.wantStats("hits 0 misses 2 loads 0 failures 0 evictions 0 resident 0 lingering 0 reserved 0")
		if g := b.Group("m"); g.Loading || g.LastError != nil {
			t.Errorf("group %+v", g)
		}
		b.put("n/1") // the bytes and the place are free again
	})
}

// TestLateComer comes when a cancelled load has not ended yet.
func TestLateComer(t *testing.T) {
	for name, late := range map[string]func(*bench){
		"Acquire": func(b *bench) { b.begin("m/1", 1, b.load("m/1")) },
		"Start":   func(b *bench) { b.Start("m/1", 1, b.load("m/1")); b.Start("m/1", 1, b.load("m/1")) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
				end := make(chan struct{})
				c := b.begin("m/1", 1, func(ctx context.Context) (string, error) {
					<-end
					return "", ctx.Err()
				})
				c.cancel()
				b.failed(c, context.Canceled)
				late(b)
				b.want("")
				close(end)
				synctest.Wait()
				b.want("m/1")
				if b.loads != 1 {
					t.Errorf("%d loads", b.loads)
				}
			})
		})
	}
}

func TestLoadDoesNotReturn(t *testing.T) {
	for name, c := range map[string]struct {
		load Load[string]
		text string
	}{
		"panic":  {func(context.Context) (string, error) { panic("a bad header") }, "a bad header"},
		"Goexit": {func(context.Context) (string, error) { runtime.Goexit(); return "", nil }, "ended its goroutine"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config[string, string]{Budget: 1}, func(t *testing.T, b *bench) {
				_, err := b.Acquire(t.Context(), "m/1", 1, c.load)
				if err == nil || !strings.Contains(err.Error(), c.text) {
					t.Errorf("error %v, want one about %q", err, c.text)
				}
				synctest.Wait()
				b.wantStats("hits 0 misses 1 loads 0 failures 1 evictions 0 resident 0 lingering 0 reserved 0")
				b.put("m/1")
			})
		})
	}
}

func TestTryAcquire(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		try := func(want bool) {
			t.Helper()
			l, ok := b.TryAcquire("m/1")
			if ok != want {
				t.Errorf("got a reference: %v", ok)
			}
			if ok {
				if l.Value() != "m/1#1" || b.Group("m").Refs != 1 {
					t.Errorf("value %s, %d references", l.Value(), b.Group("m").Refs)
				}
				l.Release()
			}
		}
		try(false)
		load, end := b.slow("m/1")
		b.Start("m/1", 1, load)
		synctest.Wait()
		try(false)
		end <- nil
		synctest.Wait()
		try(true)
		b.wantStats("hits 1 misses 1 loads 1 failures 0 evictions 0 resident 1 lingering 0 reserved 0")
		b.Close()
		try(false)
	})
}

func TestStart(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		b.Start("m/1", 1, b.load("m/1"))
		b.Start("n/1", 1, broken)
		b.Start("m/3", -1, b.load("m/3"))
		synctest.Wait()
		b.want("m/1")
		b.Start("m/1", 1, b.load("m/1"))
		synctest.Wait()
		b.wantStats("hits 0 misses 2 loads 1 failures 1 evictions 0 resident 1 lingering 0 reserved 0")
		wantErr(t, b.Group("n").LastError, errOrigin)
		wantErr(t, b.Evict("m/1"), nil) // it has no reference
		b.Close()
		b.Start("m/1", 1, b.load("m/1"))
		synctest.Wait()
		b.want("")
	})
}

// TestOnFail: it is told of a load that nobody waited for, whether it found no room or its
// load failed; not of one whose caller has the error, or that was cancelled.
func TestOnFail(t *testing.T) {
	var told []string
	cfg := Config[string, string]{Budget: 2, OnFail: func(k string, err error) {
		told = append(told, fmt.Sprint(k, " ", errors.Is(err, ErrNoRoom)))
	}}
	bubble(t, cfg, func(t *testing.T, b *bench) {
		b.Start("large/1", 3, b.load("large/1"))
		synctest.Wait()
		b.Start("m/1", 1, broken)
		synctest.Wait()
		wantErr(t, b.fails("large/2", 3), ErrNoRoom)
		load, _ := b.slow("m/2")
		c := b.begin("m/2", 1, load)
		c.cancel()
		b.failed(c, context.Canceled)
		synctest.Wait()
		b.Start("m/3", 1, b.load("m/3"))
		synctest.Wait()
		if want := []string{"large/1 true", "m/1 false"}; !slices.Equal(told, want) {
			t.Errorf("told of %q, want %q", told, want)
		}
	})
}

// TestStartKeepsLoad: it goes on although all who wait leave.
func TestStartKeepsLoad(t *testing.T) {
	for name, first := range map[string]bool{"before": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
				load, end := b.slow("m/1")
				if first {
					b.Start("m/1", 1, load)
				}
				c := b.begin("m/1", 1, load)
				if !first {
					b.Start("m/1", 1, broken)
				}
				c.cancel()
				b.failed(c, context.Canceled)
				end <- nil
				synctest.Wait()
				b.want("m/1")
			})
		})
	}
}

func TestClose(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		end := make(chan struct{})
		deaf := func(ctx context.Context) (string, error) {
			<-end
			return "", ctx.Err()
		}
		held := b.get("m/1", 1)
		calls := []*caller{
			b.begin("m/2", 1, deaf), b.begin("m/2", 1, deaf),
			b.begin("m/3", 1, deaf), b.begin("m/3", 1, deaf),
		}
		b.Start("m/2", 1, deaf)
		b.Doom("m/3")
		closed := make(chan struct{})
		go func() {
			b.Close()
			close(closed)
		}()
		for _, c := range calls {
			b.failed(c, ErrClosed)
		}
		select {
		case <-closed:
			t.Error("closed while loads run")
		default:
		}
		close(end)
		<-closed
		b.want("m/1")
		_, err := b.Acquire(t.Context(), "m/1", 1, b.load("m/1"))
		wantErr(t, err, ErrClosed)
		held.Release()
		wantErr(t, b.Evict("m/1"), nil)
		b.want("")
	})
}

// TestCloseWhileEvicting: who waits for an eviction gets ErrClosed after it.
func TestCloseWhileEvicting(t *testing.T) {
	bubble(t, Config[string, string]{}, func(t *testing.T, b *bench) {
		end := make(chan error)
		b.evict = func(string, string) error { return <-end }
		b.put("m/1")
		go func() { _ = b.Evict("m/1") }()
		synctest.Wait()
		c := b.begin("m/1", 1, b.load("m/1"))
		b.Close()
		end <- nil
		b.failed(c, ErrClosed)
	})
}
