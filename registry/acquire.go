// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// Load makes a value. Its context ends when nobody waits for it any more.
type Load[V any] func(ctx context.Context) (V, error)

// Lease is one reference on a resident item.
type Lease[V any] struct {
	value    V
	release  func()
	released atomic.Bool
}

// Value is the item's value; it is valid until Release.
func (l *Lease[V]) Value() V { return l.value }

// Release gives the reference back. It is idempotent; the time of the first call
// is the item's last use.
func (l *Lease[V]) Release() {
	if l.released.CompareAndSwap(false, true) {
		l.release()
	}
}

// flight is a load and those who wait for it.
type flight[V any] struct {
	cancel     context.CancelFunc
	background bool      // somebody wants it loaded without waiting
	owner      *waiter   // who started it; nil for a background load
	waiters    []*waiter // everybody else, in order
	load       Load[V]   // the owner's
}

// waiter is one caller that waits for a load.
type waiter struct {
	ch chan outcome // buffered: the one outcome is never lost
}

// outcome is what a waiter is told; err belongs to failed.
type outcome struct {
	verdict
	err error
}

type verdict int

const (
	ready  verdict = iota // the item is resident: look again
	failed                // the load that this caller started failed
	takeOn                // another caller's load failed: this one starts the next
)

// Acquire returns a reference on the item. An absent one is loaded: size bytes
// are reserved first, freeing others by the policy, then load runs once for all
// callers. ctx ends this caller's waiting only.
func (r *Registry[K, V]) Acquire(ctx context.Context, key K, size int64, load Load[V]) (*Lease[V], error) {
	waited := false
	for {
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return nil, ErrClosed
		}
		it := r.items[key]
		switch {
		case it != nil && it.state == resident:
			lease := r.leaseLocked(it, !waited)
			r.mu.Unlock()
			return lease, nil
		case it != nil && it.state == evicting:
			gone := it.gone
			r.mu.Unlock()
			select {
			case <-gone:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		}
		w := &waiter{ch: make(chan outcome, 1)}
		if it == nil {
			it = r.startLocked(key, size, load, w)
		} else {
			it.flight.waiters = append(it.flight.waiters, w)
		}
		if !waited {
			waited = true
			it.group.misses++
			r.stats.Misses++
		}
		r.mu.Unlock()
		if err := r.await(ctx, it, w, size, load); err != nil {
			return nil, err
		}
	}
}

// await waits for the verdict on a load, and takes it on when it is this
// caller's turn.
func (r *Registry[K, V]) await(ctx context.Context, it *item[K, V], w *waiter, size int64, load Load[V]) error {
	for {
		var o outcome
		select {
		case o = <-w.ch:
		case <-ctx.Done():
			r.leave(it, w)
			return ctx.Err()
		}
		switch o.verdict {
		case ready:
			return nil
		case failed:
			return o.err
		case takeOn:
			r.mu.Lock()
			r.flyLocked(it, size, load, w)
			r.mu.Unlock()
		}
	}
}

// leave takes a caller that waits no more off the item. A turn that it was given
// at the same moment goes to the next one.
func (r *Registry[K, V]) leave(it *item[K, V], w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case o := <-w.ch:
		if o.verdict == takeOn {
			r.handOverLocked(it)
		}
		return
	default:
	}
	f := it.flight
	if f == nil {
		return
	}
	if f.owner == w {
		f.owner = nil
	}
	if i := slices.Index(f.waiters, w); i >= 0 {
		f.waiters = slices.Delete(f.waiters, i, i+1)
	}
	if f.owner == nil && len(f.waiters) == 0 && !f.background {
		f.cancel()
	}
}

// TryAcquire returns a reference if the item is resident now.
func (r *Registry[K, V]) TryAcquire(key K) (*Lease[V], bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := r.items[key]
	if it == nil || it.state != resident || r.closed {
		return nil, false
	}
	return r.leaseLocked(it, true), true
}

// Start loads an absent item in the background and keeps no reference.
func (r *Registry[K, V]) Start(key K, size int64, load Load[V]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	switch it := r.items[key]; {
	case it == nil:
		it = r.startLocked(key, size, load, nil)
		it.flight.background = true
		it.group.misses++
		r.stats.Misses++
	case it.state == loading && it.flight != nil:
		it.flight.background = true
	}
}

func (r *Registry[K, V]) leaseLocked(it *item[K, V], hit bool) *Lease[V] {
	r.useLocked(it)
	it.refs++
	it.group.refs++
	if hit {
		it.group.hits++
		r.stats.Hits++
	}
	return &Lease[V]{value: it.value, release: func() { r.release(it) }}
}

func (r *Registry[K, V]) release(it *item[K, V]) {
	r.mu.Lock()
	it.refs--
	it.group.refs--
	now := time.Now()
	it.lastUsed = now
	it.group.lastUsed = now
	last := it.refs == 0
	if last {
		it.mapped = true
	}
	doomed := last && it.doomed
	timed := last && it.group.ttl > 0
	r.mu.Unlock()
	if doomed {
		_ = r.evict(it, ReasonDoomed, "another generation is current")
	}
	if timed {
		r.wake()
	}
}

// startLocked makes the item and its load.
func (r *Registry[K, V]) startLocked(key K, size int64, load Load[V], owner *waiter) *item[K, V] {
	it := &item[K, V]{key: key, group: r.groupLocked(r.cfg.Group(key)), size: size, state: loading}
	r.items[key] = it
	r.flyLocked(it, size, load, owner)
	return it
}

// flyLocked starts a load of an item, for its owner and for whoever waits.
func (r *Registry[K, V]) flyLocked(it *item[K, V], size int64, load Load[V], owner *waiter) {
	ctx, cancel := context.WithCancel(r.ctx)
	f := &flight[V]{cancel: cancel, owner: owner, load: load}
	if it.flight != nil {
		f.waiters = it.flight.waiters
	}
	it.flight, it.size = f, size
	it.group.loading++
	r.running.Go(func() { r.run(ctx, it, f) })
}

// run is the goroutine of one load.
func (r *Registry[K, V]) run(ctx context.Context, it *item[K, V], f *flight[V]) {
	defer f.cancel()
	var v V
	err := r.reserve(ctx, it)
	short := err != nil
	if !short {
		v, err = call(ctx, f.load)
	}
	r.mu.Lock()
	it.group.loading--
	if !short {
		r.reserved -= it.size
		it.group.reserved -= it.size
	}
	if err != nil {
		if !short && ctx.Err() == nil {
			r.stats.LoadFailures++
			it.group.lastError = err
		}
		r.movedLocked() // the reservation is free for others
		r.failLocked(it, f, err)
		r.mu.Unlock()
		r.changed(it.key)
		return
	}
	r.arriveLocked(it, f, v)
	timed := it.group.ttl > 0
	r.mu.Unlock()
	r.changed(it.key)
	if timed {
		r.wake()
	}
}

// arriveLocked makes a loaded item resident and tells all who wait.
func (r *Registry[K, V]) arriveLocked(it *item[K, V], f *flight[V], v V) {
	it.value, it.state, it.flight = v, resident, nil
	now := time.Now()
	it.lastUsed = now
	g := it.group
	g.lastUsed, g.loadedAt, g.lastError = now, now, nil
	g.items++
	g.loads++
	g.resident += it.size
	r.resident += it.size
	r.stats.Loads++
	for _, w := range f.waiters {
		w.ch <- outcome{verdict: ready}
	}
	if f.owner != nil {
		f.owner.ch <- outcome{verdict: ready}
	}
}

// failLocked gives a load's error to its owner and the turn to one waiter.
func (r *Registry[K, V]) failLocked(it *item[K, V], f *flight[V], err error) {
	if f.owner != nil {
		f.owner.ch <- outcome{failed, err}
		f.owner = nil
	}
	r.handOverLocked(it)
}

// handOverLocked gives the next waiter its turn; without one the item is absent.
func (r *Registry[K, V]) handOverLocked(it *item[K, V]) {
	f := it.flight
	if f == nil {
		return
	}
	if len(f.waiters) == 0 {
		if r.items[it.key] == it {
			delete(r.items, it.key)
		}
		it.flight = nil
		return
	}
	next := f.waiters[0]
	f.waiters = f.waiters[1:]
	next.ch <- outcome{verdict: takeOn}
}

// call runs a load; a panic becomes its error.
func call[V any](ctx context.Context, load Load[V]) (v V, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("load panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return load(ctx)
}
