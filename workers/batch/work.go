// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// mostAhead is how long a call that went ahead may have to wait for those before it, by
// what batches took lately. It might have gone to another worker meanwhile.
const mostAhead = time.Millisecond

// Work gives a worker batches until the context ends, the queue is closed, or the worker
// is gone. It returns when the last of them is over.
//
// A batch that goes as its call comes is run by the goroutine that pushes the call, if
// Item.Here allows it, in the place of a lane that waits: two goroutines less have to be
// woken, which takes longer than all else that a small call needs.
func (q *Queue[T]) Work(ctx context.Context, w Worker[T]) {
	of := &worker[T]{Worker: w}
	var lanes sync.WaitGroup
	for range max(w.Lanes, 1) + w.Ahead {
		lanes.Go(func() { q.run(&lane[T]{of: of, ctx: ctx, result: make(chan result[T], 1)}) })
	}
	lanes.Wait()
}

// worker is a Worker at work. All of it is guarded by Queue.mu.
type worker[T any] struct {
	Worker[T]
	running int           // batches that it was given and that are not over
	over    time.Time     // when the last one was
	each    time.Duration // what it takes for one, lately; 0: not known
	gone    bool
}

// lane is one batch of a worker, or waits for one.
type lane[T any] struct {
	of     *worker[T]
	ctx    context.Context
	result chan result[T] // has room for one

	began time.Time // guarded by Queue.mu: when the batch was given to it
	lent  bool      // guarded by Queue.mu: somebody runs a batch in its place
}

// result is what a lane gets: calls, or why there will be none.
type result[T any] struct {
	calls []*node[T]
	at    time.Time
	err   error
}

// errGone ends the lanes of a worker that is gone.
var errGone = errors.New("worker is gone")

// idle says that the worker does not run as much as it can.
func (w *worker[T]) idle() bool { return w.running < max(w.Lanes, 1) }

// free says that the worker can be given a batch.
func (w *worker[T]) free() bool {
	if w.gone {
		return false
	}
	if w.idle() || w.Ahead == 0 || w.each == 0 {
		return w.idle()
	}
	return w.running < max(w.Lanes, 1)+min(w.Ahead, int(mostAhead/w.each))
}

// begin notes that a lane was given a batch.
func (l *lane[T]) begin(now time.Time) {
	l.began = now
	l.of.running++
}

// end notes that its batch is over, and what it took: not the time for which it lay
// ready.
func (l *lane[T]) end(now time.Time) {
	w := l.of
	w.running--
	began := l.began
	if w.over.After(began) {
		began = w.over
	}
	w.over = now
	took := max(now.Sub(began), 1)
	if w.each > 0 {
		took = max(w.each+(took-w.each)/8, 1)
	}
	w.each = took
}

// run has a lane run batches until there are no more.
func (q *Queue[T]) run(l *lane[T]) {
	q.join(l)
	for {
		r := q.await(l)
		if r.err != nil {
			return
		}
		gone, later := l.of.Run(batch(r.calls, r.at))
		if later != nil {
			<-later
		}
		q.back(l, gone)
	}
}

// join makes a lane one of those that wait.
func (q *Queue[T]) join(l *lane[T]) {
	now := time.Now()
	q.mu.Lock()
	var dropped []drop[T]
	if q.closed {
		l.result <- result[T]{err: ErrClosed}
	} else {
		q.waiting = append(q.waiting, l)
		dropped = q.settleLocked(now, nil)
	}
	q.mu.Unlock()
	tell(dropped)
}

// await waits for what a lane is given.
func (q *Queue[T]) await(l *lane[T]) result[T] {
	select {
	case r := <-l.result:
		return r
	case <-l.ctx.Done():
	}
	if q.leave(l) {
		return result[T]{err: l.ctx.Err()}
	}
	return <-l.result // it was given calls meanwhile: nobody else has them; or is lent
}

// lend has the goroutine that is pushing a call run its batch in a lane's place, if it
// may. The caller holds the lock.
func (q *Queue[T]) lend(l *lane[T], calls []*node[T]) bool {
	if q.pushed == nil || !q.pushed.Here || !slices.Contains(calls, q.pushed) {
		return false
	}
	l.lent = true
	q.lent, q.lentCalls = l, calls
	return true
}

// runHere runs a batch in the place of a lane.
func (q *Queue[T]) runHere(l *lane[T], calls []*node[T], now time.Time) {
	gone, later := l.of.Run(batch(calls, now))
	if later == nil {
		q.back(l, gone)
		return
	}
	go func() {
		<-later
		q.back(l, gone)
	}()
}

// back follows a batch: the lane waits again, unless it is not to.
func (q *Queue[T]) back(l *lane[T], gone bool) {
	now := time.Now()
	q.mu.Lock()
	l.lent = false
	l.end(now)
	if gone {
		q.dismissLocked(l.of)
	}
	switch {
	case l.of.gone:
		l.result <- result[T]{err: errGone}
	case q.closed, q.policy.draining && q.policy.depth == 0:
		l.result <- result[T]{err: ErrClosed}
	case l.ctx.Err() != nil:
		l.result <- result[T]{err: l.ctx.Err()}
	default:
		q.waiting = append(q.waiting, l)
	}
	dropped := q.settleLocked(now, nil)
	q.mu.Unlock()
	tell(dropped)
}

// dismissLocked ends those lanes of a worker that wait; the others end as they come back.
func (q *Queue[T]) dismissLocked(w *worker[T]) {
	w.gone = true
	q.waiting = slices.DeleteFunc(q.waiting, func(l *lane[T]) bool {
		if l.of != w {
			return false
		}
		l.result <- result[T]{err: errGone}
		return true
	})
}

// leave has a lane wait no more; false if it has a result, or is lent.
func (q *Queue[T]) leave(l *lane[T]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, l)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	if q.choose() < 0 {
		q.policy.busy()
	}
	return true
}

// choose is the place of the lane that is given the next batch, -1 if none can be: it is
// one of the worker that has the least to do, and of those the one that came last, as
// what it needs is still in the processor's caches. The caller holds the lock.
func (q *Queue[T]) choose() int {
	best := -1
	for i, l := range slices.Backward(q.waiting) {
		if l.of.free() && (best < 0 || l.of.running < q.waiting[best].of.running) {
			best = i
		}
	}
	return best
}
