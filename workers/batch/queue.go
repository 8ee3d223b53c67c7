// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Queue is the calls of one model that wait, and the workers' lanes that wait for them. Its
// methods can be called at the same time.
type Queue[T any] struct {
	cfg Config

	mu sync.Mutex
	// guarded by mu:
	policy  *policy[T]
	waiting []*lane[T] // the one that came last at the end
	timer   *time.Timer
	wake    time.Time     // when the timer fires; zero: it does not
	drained chan struct{} // closed when nothing waits any more; nil: nobody drains
	closed  bool
	// Of the call that is being pushed: a lane in whose place its batch is run.
	pushed    *node[T]
	lent      *lane[T]
	lentCalls []*node[T]
}

// New makes a queue. It needs no Close if nothing waits in it.
func New[T any](cfg Config) *Queue[T] {
	return &Queue[T]{cfg: cfg, policy: newPolicy[T](cfg)}
}

// Push has a call wait for its batch. From then on it is handed out once, or its Dropped
// is called once; neither, if there is an error: ErrFull, ErrTooLarge, ErrClosed, or its
// context's.
func (q *Queue[T]) Push(call Item[T]) error {
	if call.Context == nil {
		call.Context = context.Background()
	}
	if q.cfg.MaxBatch > 1 && call.Rows > q.cfg.MaxBatch {
		return fmt.Errorf("%d rows: %w: the most is %d", call.Rows, ErrTooLarge, q.cfg.MaxBatch)
	}
	now := time.Now()
	if err := ended(call.Context, now); err != nil {
		return err
	}
	n := &node[T]{Item: call}

	q.mu.Lock()
	var dropped []drop[T]
	if q.cfg.MaxQueue > 0 && q.policy.depth >= q.cfg.MaxQueue {
		dropped = q.policy.expire(now, dropped)
	}
	err := q.fullLocked()
	if err == nil {
		q.policy.add(n, now)
		q.pushed = n
		dropped = q.settleLocked(now, dropped)
		q.pushed = nil
	}
	waits, lent, calls := n.waits, q.lent, q.lentCalls
	q.lent, q.lentCalls = nil, nil
	q.mu.Unlock()

	tell(dropped)
	if lent != nil {
		q.runHere(lent, calls, now)
	}
	if waits && call.Context.Done() != nil {
		q.watch(n)
	}
	return err
}

// fullLocked says why no call is taken.
func (q *Queue[T]) fullLocked() error {
	switch {
	case q.closed || q.policy.draining:
		return ErrClosed
	case q.cfg.MaxQueue > 0 && q.policy.depth >= q.cfg.MaxQueue:
		return fmt.Errorf("%w: %d calls wait, the most is %d", ErrFull, q.policy.depth, q.cfg.MaxQueue)
	}
	return nil
}

// watch has a call go when its context ends. That costs more than the rest of Push, so
// it comes after it, for calls that are still there.
func (q *Queue[T]) watch(n *node[T]) {
	stop := context.AfterFunc(n.Context, func() { q.cancel(n) })
	q.mu.Lock()
	waits := n.waits
	if waits {
		n.stop = stop
	}
	q.mu.Unlock()
	if !waits {
		stop()
	}
}

// cancel drops a call whose context has ended.
func (q *Queue[T]) cancel(n *node[T]) {
	q.mu.Lock()
	if !n.waits {
		q.mu.Unlock()
		return
	}
	q.policy.remove(n)
	dropped := q.settleLocked(time.Now(), []drop[T]{{n, n.Context.Err()}})
	q.mu.Unlock()
	tell(dropped)
}

// settleLocked comes after every change: it gives lanes that wait what can go, and sets
// the timer for what can go later. The sends do not block, because a lane has room for
// its one result.
func (q *Queue[T]) settleLocked(now time.Time, dropped []drop[T]) []drop[T] {
	for q.policy.depth > 0 {
		i := q.choose()
		if i < 0 {
			break
		}
		l := q.waiting[i]
		var calls []*node[T]
		if calls, dropped = q.policy.next(now, l.of.Most, !l.of.idle(), dropped); calls == nil {
			break
		}
		q.waiting = slices.Delete(q.waiting, i, i+1)
		l.begin(now)
		if q.lend(l, calls) {
			continue
		}
		l.result <- result[T]{calls: calls, at: now}
	}
	free := q.choose() >= 0
	if !free {
		q.policy.busy()
	}
	if q.policy.draining && q.policy.depth == 0 {
		q.endLocked()
	}
	if at := q.policy.wake(free); !at.IsZero() && (q.wake.IsZero() || at.Before(q.wake)) {
		q.wake = at
		if q.timer == nil {
			q.timer = time.AfterFunc(at.Sub(now), q.fire)
		} else {
			q.timer.Reset(at.Sub(now))
		}
	}
	return dropped
}

// fire is the timer's: what it was set for may have gone meanwhile.
func (q *Queue[T]) fire() {
	now := time.Now()
	q.mu.Lock()
	q.wake = time.Time{}
	dropped := q.policy.expire(now, nil)
	dropped = q.settleLocked(now, dropped)
	q.mu.Unlock()
	tell(dropped)
}

// endLocked says to those who wait that nothing more comes.
func (q *Queue[T]) endLocked() {
	if q.drained != nil {
		close(q.drained)
		q.drained = nil
	}
	for _, l := range q.waiting {
		l.result <- result[T]{err: ErrClosed}
	}
	q.waiting = nil
}

// Drain takes no new calls, and returns when those that wait have been handed out or
// dropped; or when its context ends: then Close drops the rest.
func (q *Queue[T]) Drain(ctx context.Context) error {
	q.mu.Lock()
	q.policy.draining = true
	if q.drained == nil {
		q.drained = make(chan struct{})
	}
	drained := q.drained
	dropped := q.settleLocked(time.Now(), nil)
	q.mu.Unlock()
	tell(dropped)
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close drops the calls that wait, and ends Work and Drain. It can be called again.
func (q *Queue[T]) Close() {
	var dropped []drop[T]
	q.mu.Lock()
	q.closed = true
	for len(q.policy.levels) > 0 {
		n := q.policy.levels[0].turns.first.calls.first
		q.policy.remove(n)
		dropped = append(dropped, drop[T]{n, ErrClosed})
	}
	q.endLocked()
	if q.timer != nil {
		q.timer.Stop()
	}
	q.mu.Unlock()
	tell(dropped)
}

// Depth is how many calls wait.
func (q *Queue[T]) Depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.policy.depth
}

// tell tells calls that they were dropped. It is called without the lock.
func tell[T any](dropped []drop[T]) {
	for _, d := range dropped {
		if d.stop != nil {
			d.stop()
		}
		if d.Dropped != nil {
			d.Dropped(d.err)
		}
	}
}

// batch makes a batch of calls that were taken out. It is called without the lock.
func batch[T any](calls []*node[T], now time.Time) Batch[T] {
	b := Batch[T]{Items: make([]Taken[T], len(calls))}
	for i, n := range calls {
		if n.stop != nil {
			n.stop()
		}
		b.Items[i] = Taken[T]{Call: n.Call, Rows: n.Rows, Waited: now.Sub(n.came)}
		b.Rows += n.Rows
	}
	return b
}
