// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
)

// Load makes a value. Its context ends when nobody waits for it any more.
type Load[V any] func(ctx context.Context) (V, error)

// Acquire returns a reference on the item. An absent one is loaded: size bytes
// are reserved first, freeing others by the policy, then load runs once for all
// callers. ctx ends this caller's waiting only.
func (r *Registry[K, V]) Acquire(ctx context.Context, key K, size int64, load Load[V]) (*Lease[V], error) {
	if size < 0 {
		return nil, fmt.Errorf("acquire %v: size %d is negative", key, size)
	}
	var home *home // known once the item was seen absent
	for {
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return nil, ErrClosed
		}
		it := r.items[key]
		switch {
		case it != nil && it.state == resident:
			lease := r.leaseLocked(it)
			it.group.hits++
			r.stats.Hits++
			r.mu.Unlock()
			return lease, nil
		case ctx.Err() != nil:
			r.mu.Unlock()
			return nil, ctx.Err()
		case it != nil && it.state == evicting:
			gone := it.goneLocked()
			r.mu.Unlock()
			select {
			case <-gone:
			case <-ctx.Done():
			}
			continue
		case it == nil && home == nil:
			r.mu.Unlock()
			home = r.homeOf(key)
			continue
		}
		w := &waiter[V]{told: make(chan outcome[V], 1), size: size, load: load}
		if it == nil {
			it = r.startLocked(key, home, w)
		} else {
			it.flight.waiters = append(it.flight.waiters, w)
		}
		it.group.misses++
		r.stats.Misses++
		r.mu.Unlock()
		select {
		case o := <-w.told:
			return o.lease, o.err
		case <-ctx.Done():
			r.leave(it, w)
			return nil, ctx.Err()
		case <-r.ctx.Done():
			r.leave(it, w)
			return nil, ErrClosed
		}
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
	it.group.hits++
	r.stats.Hits++
	return r.leaseLocked(it), true
}

// Start loads an absent item in the background and keeps no reference. A load in
// flight goes on even if all who wait for it leave.
func (r *Registry[K, V]) Start(key K, size int64, load Load[V]) {
	if size < 0 {
		return
	}
	r.mu.Lock()
	it := r.items[key]
	if it == nil && !r.closed {
		r.mu.Unlock()
		home := r.homeOf(key)
		r.mu.Lock()
		if it = r.items[key]; it == nil && !r.closed {
			it = r.startLocked(key, home, &waiter[V]{size: size, load: load})
			it.group.misses++
			r.stats.Misses++
		}
	}
	if it != nil && it.state == loading && !r.closed {
		it.flight.keepLocked(&waiter[V]{size: size, load: load})
	}
	r.mu.Unlock()
}

// home is where an absent item belongs. It is asked without the lock: the
// functions are the caller's.
type home struct {
	group string
	last  bool
}

func (r *Registry[K, V]) homeOf(key K) *home {
	return &home{group: r.cfg.Group(key), last: r.cfg.Last != nil && r.cfg.Last(key)}
}

// startLocked makes the item and its load.
func (r *Registry[K, V]) startLocked(key K, h *home, owner *waiter[V]) *item[K, V] {
	it := &item[K, V]{key: key, group: r.groupLocked(h.group), last: h.last, state: loading}
	it.drop = func() { r.release(it) }
	r.items[key] = it
	r.flyLocked(it, owner, nil)
	return it
}
