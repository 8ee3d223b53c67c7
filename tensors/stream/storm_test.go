// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stream

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

func (a *tally) check(t testing.TB) {
	t.Helper()
	if a.Torn > 0 {
		t.Errorf("%d torn frames were valid", a.Torn)
	}
	if a.Backwards > 0 {
		t.Errorf("%d frames came after a later one", a.Backwards)
	}
	if a.Whole == 0 {
		t.Error("no frame was whole")
	}
	if seen := uint64(a.Whole + a.Overrun); a.Last != 0 && seen+a.Missed > a.Last {
		t.Errorf("%d frames seen and %d missed of %d", seen, a.Missed, a.Last)
	}
}

// TestStorm: a producer overwrites as fast as it can, in this process; readers look
// at every word of every frame. No torn frame is found valid. The control: torn frames
// are seen where nobody asks.
func TestStorm(t *testing.T) {
	for _, slots := range []int{2, 3, 8} {
		path := streamPath(t)
		w := must(makeStream(path, slots))(t)
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		t.Cleanup(cancel)
		var all sync.WaitGroup
		var mu sync.Mutex
		var sum tally
		for range 2 {
			r := must(Open(path))(t)
			t.Cleanup(func() { r.Close() })
			all.Go(func() {
				a, err := consume(ctx, r)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				a.check(t)
				sum.Seen += a.Seen
				sum.Whole += a.Whole
				sum.Overrun += a.Overrun
			})
		}
		if err := produce(w, ctx.Done()); err != nil {
			t.Error(err)
		}
		all.Wait()
		t.Logf("%d slots: %d frames produced, %d whole, %d overrun, %d of those torn", slots, w.Head(), sum.Whole, sum.Overrun, sum.Seen)
		if slots == 2 && sum.Seen == 0 {
			t.Error("nothing was ever torn: this test shows nothing")
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestKilledProducers: producers are killed at any moment, each time the next one
// goes on in the same file, and readers in other processes, who may only read, notice
// nothing but a pause. Readers are killed too, which nobody notices.
func TestKilledProducers(t *testing.T) {
	path := streamPath(t)
	uid := os.Geteuid()
	if uid == 0 {
		uid = 65534
	}
	producer := startChild(t, os.Geteuid(), "produce", path)
	readers := []*child{startChild(t, uid, "read", path), startChild(t, uid, "read", path)}
	mine := must(Open(path))(t)
	defer mine.Close()
	const kills = 40
	for i := range kills {
		time.Sleep(time.Duration(rand.IntN(10_000)) * time.Microsecond)
		producer.kill()
		if has := must(mine.HasProducer())(t); has {
			t.Fatal("a killed producer still has the lock")
		}
		if i%4 == 0 {
			victim := startChild(t, uid, "read", path)
			time.AfterFunc(time.Duration(rand.IntN(10_000))*time.Microsecond, func() { victim.cmd.Process.Kill() })
		}
		head := mine.ring.head.Load()
		producer = startChild(t, os.Geteuid(), "produce", path)
		if f, err := mine.Latest(soon(t)); err != nil || f.Number() < head {
			t.Fatalf("after kill %d at frame %d: frame %d, %v", i, head, f.Number(), err)
		}
	}
	if got := mine.Generation(); got != kills+1 {
		t.Errorf("%d producers, generation is %d", kills+1, got)
	}
	producer.kill()
	for _, r := range readers {
		a := r.finish()
		a.check(t)
		t.Logf("%+v", a)
		if a.Last == 0 || a.Last+4 < mine.ring.head.Load() {
			t.Errorf("a reader ended at frame %d of %d", a.Last, mine.ring.head.Load())
		}
	}
}
