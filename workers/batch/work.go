// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Work runs batches of at most max rows, as Next hands them out, until the context ends,
// the queue is closed, or run says that its worker is gone. It returns when the last run
// is over.
//
// A batch that goes as its call comes is run by the goroutine that pushes the call, if
// Item.Here allows it, in the place of a worker that waits: two goroutines less have to
// be woken, which takes longer than all else that a small call needs. run may return
// before it is over; later is closed then, and until that is so the worker gets nothing.
func (q *Queue[T]) Work(ctx context.Context, max int, run func(Batch[T]) (gone bool, later <-chan struct{})) {
	w := &worker[T]{most: max, run: run, result: make(chan result[T], 1)}
	for {
		b, err := q.nextOf(ctx, w)
		if err != nil {
			return
		}
		if len(b.Items) == 0 {
			continue // it was lent, and is to look again
		}
		gone, later := run(b)
		if later != nil {
			<-later
		}
		if gone {
			return
		}
	}
}

// errGone ends a worker that was found to be gone while it was lent.
var errGone = errors.New("worker is gone")

// nextOf is Next for a worker that keeps its place.
func (q *Queue[T]) nextOf(ctx context.Context, w *worker[T]) (Batch[T], error) {
	if err := ctx.Err(); err != nil {
		return Batch[T]{}, err
	}
	now := time.Now()
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return Batch[T]{}, ErrClosed
	}
	calls, dropped := q.policy.next(now, w.most, nil)
	if calls == nil {
		q.idle = append(q.idle, w)
	}
	dropped = q.settleLocked(now, dropped)
	q.mu.Unlock()
	tell(dropped)
	if calls != nil {
		return batch(calls, now), nil
	}
	r, err := q.await(ctx, w)
	if err == nil {
		err = r.err
	}
	return batch(r.calls, r.at), err
}

// await waits for what a worker is given, which may be nothing after it was lent.
func (q *Queue[T]) await(ctx context.Context, w *worker[T]) (result[T], error) {
	select {
	case r := <-w.result:
		return r, nil
	case <-ctx.Done():
	}
	if q.leave(w) {
		return result[T]{}, ctx.Err()
	}
	return <-w.result, nil // it was given calls meanwhile, or is lent: nobody else has them
}

// lend has the goroutine that is pushing a call run its batch in a worker's place, if
// it may. The caller holds the lock.
func (q *Queue[T]) lend(w *worker[T], calls []*node[T]) bool {
	if q.pushed == nil || !q.pushed.Here || w.run == nil || !slices.Contains(calls, q.pushed) {
		return false
	}
	w.lent = true
	q.lent, q.lentCalls = w, calls
	return true
}

// runHere runs a batch in the place of a worker.
func (q *Queue[T]) runHere(w *worker[T], calls []*node[T], now time.Time) {
	gone, later := w.run(batch(calls, now))
	if later == nil {
		q.back(w, gone)
		return
	}
	go func() {
		<-later
		q.back(w, gone)
	}()
}

// back ends a loan: the worker waits again, unless there is something for it.
func (q *Queue[T]) back(w *worker[T], gone bool) {
	now := time.Now()
	q.mu.Lock()
	w.lent = false
	var dropped []drop[T]
	switch {
	case gone:
		w.result <- result[T]{err: errGone}
	case q.closed, q.policy.draining && q.policy.depth == 0:
		w.result <- result[T]{err: ErrClosed}
	case w.leaves:
		w.leaves = false
		w.result <- result[T]{}
	default:
		q.idle = append(q.idle, w)
		dropped = q.settleLocked(now, nil)
	}
	q.mu.Unlock()
	tell(dropped)
}
