// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// working is a queue with workers that note what they run, and where.
type working struct {
	*testing.T
	*Queue[string]
	over sync.WaitGroup

	mu    sync.Mutex
	ran   []string // guarded by mu
	block chan struct{}
	gone  bool // guarded by mu: what run says next
	later chan struct{}
}

func newWorking(t *testing.T, cfg Config) *working {
	return &working{T: t, Queue: New[string](cfg)}
}

func (w *working) worker(ctx context.Context) { w.workerOf(ctx, "", 0) }

// workerOf has a worker that may be given calls ahead, and says with each which it is.
func (w *working) workerOf(ctx context.Context, mark string, ahead int) {
	w.over.Go(func() {
		w.Work(ctx, Worker[string]{Ahead: ahead, Run: func(b Batch[string]) (bool, <-chan struct{}) {
			w.mu.Lock()
			for _, c := range b.Items {
				w.ran = append(w.ran, mark+c.Call)
			}
			block, gone, later := w.block, w.gone, w.later
			w.mu.Unlock()
			if block != nil {
				<-block
			}
			if later != nil {
				return gone, later
			}
			return gone, nil
		}})
	})
	synctest.Wait()
}

func (w *working) push(name string, here bool) {
	w.item(Item[string]{Call: name, Kind: "k", Rows: 1, Here: here})
}

func (w *working) item(item Item[string]) {
	if err := w.Push(item); err != nil {
		w.Errorf("%s: %v", item.Call, err)
	}
}

// ahead pushes calls that may go ahead.
func (w *working) ahead(names ...string) {
	for _, name := range names {
		w.item(Item[string]{Call: name, Rows: 1, Ahead: true})
	}
	synctest.Wait()
}

// took is want, for those that ran since the last took, in any order.
func (w *working) took(calls ...string) {
	w.Helper()
	w.mu.Lock()
	slices.Sort(w.ran)
	slices.Sort(calls)
	w.mu.Unlock()
	w.want(calls...)
	w.ran = nil
}

func (w *working) want(calls ...string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.ran, calls) {
		w.Errorf("ran %q, want %q", w.ran, calls)
	}
}

// TestHere: a call that a worker waits for has been run when Push returns; one that does
// not allow it, or that no worker waits for, has not.
func TestHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorking(t, Config{})
		w.push("before", true)
		w.worker(t.Context())
		w.want("before")
		w.push("here", true)
		w.want("before", "here")
		w.push("there", false)
		synctest.Wait()
		w.want("before", "here", "there")
		w.push("again", true)
		w.want("before", "here", "there", "again")
		w.Close()
		w.over.Wait()
	})
}

// TestHereInTurn: a worker that is lent runs nothing else, and what came meanwhile is
// run by itself after that, all in one batch.
func TestHereInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorking(t, Config{MaxBatch: 8})
		w.block = make(chan struct{})
		w.worker(t.Context())
		go w.push("first", true)
		synctest.Wait()
		w.push("second", true) // returns at once
		w.push("third", true)
		w.want("first")
		if n := w.Depth(); n != 2 {
			t.Errorf("%d calls wait, want 2", n)
		}
		close(w.block)
		synctest.Wait()
		w.want("first", "second", "third")
		w.Close()
		w.over.Wait()
	})
}

// TestHereLater: Push does not wait for what is over later, and the worker does.
func TestHereLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorking(t, Config{})
		w.later = make(chan struct{})
		w.worker(t.Context())
		w.push("first", true)
		w.push("second", true)
		synctest.Wait()
		w.want("first")
		close(w.later)
		synctest.Wait()
		w.want("first", "second")
		w.Close()
		w.over.Wait()
	})
}

// TestLentWorkerEnds: a worker that is lent ends when that run is over, and not before:
// its context, a close, and that it is gone.
func TestLentWorkerEnds(t *testing.T) {
	for name, end := range map[string]func(*working, context.CancelFunc){
		"context": func(_ *working, cancel context.CancelFunc) { cancel() },
		"close":   func(w *working, _ context.CancelFunc) { w.Close() },
		"drain": func(w *working, _ context.CancelFunc) {
			if err := w.Drain(context.Background()); err != nil {
				w.Error(err)
			}
		},
		"gone": func(*working, context.CancelFunc) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorking(t, Config{})
				w.block, w.gone = make(chan struct{}), name == "gone"
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w.worker(ctx)
				go w.push("first", true)
				synctest.Wait()
				end(w, cancel)
				ended := make(chan struct{})
				go func() { w.over.Wait(); close(ended) }()
				synctest.Wait()
				select {
				case <-ended:
					t.Error("it ended while it was lent")
				default:
				}
				close(w.block)
				<-ended
				w.want("first")
				if name == "context" || name == "gone" { // another one takes what comes
					w.gone, w.block = false, nil
					w.worker(t.Context())
					w.push("second", true)
					w.want("first", "second")
				}
				w.Close()
				w.over.Wait()
			})
		})
	}
}

// TestHereWaits: with a delay a call waits for company, and Push does not.
func TestHereWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorking(t, Config{MaxBatch: 2, MaxDelay: time.Second})
		w.worker(t.Context())
		w.push("first", true)
		w.want()
		w.push("second", true) // it makes the batch full
		w.want("first", "second")
		w.push("third", true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.want("first", "second", "third")
		w.Close()
		w.over.Wait()
	})
}

// TestAhead: a worker that is quick is given calls before it has run those that it has,
// as many as it takes and of those that allow it; one that is slow, or new, is not.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorking(t, Config{})
		w.workerOf(t.Context(), "", 2)
		w.block = make(chan struct{})
		open := func() {
			w.mu.Lock()
			close(w.block)
			w.block = make(chan struct{})
			w.mu.Unlock()
			synctest.Wait()
		}
		w.ahead("a", "b")
		w.took("a") // it is not known how long it takes
		open()
		w.took("b")
		open()
		w.ahead("c", "d", "e", "f")
		w.took("c", "d", "e")
		open()
		w.took("f")
		w.push("large", false)
		w.ahead("g")
		w.took()
		open()
		w.took("large", "g")
		open()
		w.ahead("slow")
		time.Sleep(time.Second)
		open()
		w.ahead("h", "i")
		w.took("slow", "h")
		open()
		w.took("i")
		open()
		w.Close()
		w.over.Wait()
	})
}

// TestAheadOfNobody: a call goes to the worker that has the least to do, and to none that
// is gone.
func TestAheadOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorking(t, Config{})
		w.workerOf(t.Context(), "1:", 2)
		w.ahead("a")
		w.workerOf(t.Context(), "2:", 2)
		w.ahead("b") // it knows both
		w.ran, w.block, w.gone = nil, make(chan struct{}), true
		for n := 1; n <= 3; n++ {
			w.ahead("c")
			w.ahead("d")
			var each [2]int
			for _, call := range w.ran {
				each[call[0]-'1']++
			}
			if each != [2]int{n, n} {
				t.Errorf("ran %q", w.ran)
			}
		}
		w.ahead("e")
		close(w.block)
		w.over.Wait() // before the queue is closed
		if len(w.ran) != 6 || w.Depth() != 1 {
			t.Errorf("ran %q, and %d wait", w.ran, w.Depth())
		}
		w.Close()
	})
}

// TestHereByMany: whatever goroutines push, each call runs once and no worker has more
// batches at a time than it takes.
func TestHereByMany(t *testing.T) {
	for _, ahead := range []int{0, 3} {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) { hereByMany(t, ahead) })
	}
}

func hereByMany(t *testing.T, ahead int) {
	const workers, callers, calls = 3, 20, 200
	q := New[int](Config{MaxBatch: 4})
	ran := make([]int, callers*calls)
	var mu sync.Mutex
	var over, pushed sync.WaitGroup
	for range workers {
		var has atomic.Int32
		over.Go(func() {
			q.Work(t.Context(), Worker[int]{Ahead: ahead, Run: func(b Batch[int]) (bool, <-chan struct{}) {
				if n := has.Add(1); n > int32(1+ahead) {
					t.Errorf("a worker has %d batches", n)
				}
				defer has.Add(-1)
				mu.Lock()
				defer mu.Unlock()
				for _, c := range b.Items {
					ran[c.Call]++
				}
				return false, nil
			}})
		})
	}
	for i := range callers {
		pushed.Go(func() {
			for j := range calls {
				if err := q.Push(Item[int]{Call: i*calls + j, Kind: "k", Rows: 1, Here: j%3 > 0, Ahead: j%5 > 0}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	pushed.Wait()
	if err := q.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	q.Close()
	over.Wait()
	for call, n := range ran {
		if n != 1 {
			t.Fatalf("call %d ran %d times", call, n)
		}
	}
}
