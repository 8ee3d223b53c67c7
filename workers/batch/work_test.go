// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"context"
	"slices"
	"sync"
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

func (w *working) worker(ctx context.Context) {
	w.over.Go(func() {
		w.Work(ctx, 0, func(b Batch[string]) (bool, <-chan struct{}) {
			w.mu.Lock()
			for _, c := range b.Items {
				w.ran = append(w.ran, c.Call)
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
		})
	})
	synctest.Wait()
}

func (w *working) push(name string, here bool) {
	if err := w.Push(Item[string]{Call: name, Kind: "k", Rows: 1, Here: here}); err != nil {
		w.Errorf("%s: %v", name, err)
	}
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

// TestHereByMany: whatever goroutines push, each call runs once and no worker runs two
// batches at a time.
func TestHereByMany(t *testing.T) {
	const workers, callers, calls = 3, 20, 200
	q := New[int](Config{MaxBatch: 4})
	ran := make([]int, callers*calls)
	var mu sync.Mutex
	var over, pushed sync.WaitGroup
	for range workers {
		var busy sync.Mutex
		over.Go(func() {
			q.Work(t.Context(), 0, func(b Batch[int]) (bool, <-chan struct{}) {
				if !busy.TryLock() {
					t.Error("a worker has two batches")
				} else {
					defer busy.Unlock()
				}
				mu.Lock()
				defer mu.Unlock()
				for _, c := range b.Items {
					ran[c.Call]++
				}
				return false, nil
			})
		})
	}
	for i := range callers {
		pushed.Go(func() {
			for j := range calls {
				if err := q.Push(Item[int]{Call: i*calls + j, Kind: "k", Rows: 1, Here: j%3 > 0}); err != nil {
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
