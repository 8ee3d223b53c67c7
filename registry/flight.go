// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// flight is a load and those who wait for it. When it fails, the next flight is
// the first waiter's, begun by the one that ends: the item is never loading
// without a load.
type flight[K comparable, V any] struct {
	load       Load[V]
	size       int64
	cancel     context.CancelFunc
	cancelled  bool // nobody waited: it ends soon, and what comes later needs the next
	background bool // somebody wants it loaded without waiting
	reserved   bool // it has its bytes

	owner   *waiter[V]   // whose load it is; nil once he left, or when nobody waits
	waiters []*waiter[V] // everybody else, in order
}

// waiter is one caller that waits for a load, or wants one in the background.
type waiter[V any] struct {
	told chan outcome[V] // buffered: the one outcome never blocks; nil in the background
	size int64
	load Load[V]
}

func (w *waiter[V]) inBackground() bool { return w.told == nil }

// outcome is what a waiter is told: its reference, or its own load's error.
type outcome[V any] struct {
	lease *Lease[V]
	err   error
}

var errGoexit = errors.New("load ended its goroutine")

// keepLocked makes a load go on without waiters. One that is cancelled already is
// done again, as w.
func (f *flight[K, V]) keepLocked(w *waiter[V]) {
	if !f.cancelled {
		f.background = true
	} else if !slices.ContainsFunc(f.waiters, (*waiter[V]).inBackground) {
		f.waiters = append(f.waiters, w)
	}
}

// dropLocked is for a load whose item nobody will find: it goes on only for those
// who wait.
func (f *flight[K, V]) dropLocked() {
	f.background = false
	f.waiters = slices.DeleteFunc(f.waiters, (*waiter[V]).inBackground)
	f.cancelUnlessWantedLocked()
}

func (f *flight[K, V]) cancelUnlessWantedLocked() {
	if f.owner == nil && len(f.waiters) == 0 && !f.background {
		f.cancelled = true
		f.cancel()
	}
}

// leave takes a caller that waits no more off the item. A reference that it was
// given at the same moment goes back.
func (r *Registry[K, V]) leave(it *item[K, V], w *waiter[V]) {
	r.mu.Lock()
	select {
	case o := <-w.told:
		r.mu.Unlock()
		if o.lease != nil {
			o.lease.Release()
		}
		return
	default:
	}
	if f := it.flight; f != nil { // nil: it failed at Close, which tells by Registry.ctx
		if f.owner == w {
			f.owner = nil
		}
		if i := slices.Index(f.waiters, w); i >= 0 {
			f.waiters = slices.Delete(f.waiters, i, i+1)
		}
		f.cancelUnlessWantedLocked()
	}
	r.mu.Unlock()
}

// flyLocked starts a load of an item, for its owner and for whoever waits.
func (r *Registry[K, V]) flyLocked(it *item[K, V], owner *waiter[V], waiters []*waiter[V]) {
	ctx, cancel := context.WithCancel(r.ctx)
	f := &flight[K, V]{load: owner.load, size: owner.size, cancel: cancel, waiters: waiters}
	if owner.inBackground() {
		f.background = true
	} else {
		f.owner = owner
	}
	it.flight, it.size = f, f.size
	it.group.loading++
	r.running.Go(func() { r.run(ctx, it, f) })
}

// run is the goroutine of one load. It lands also when the load ends it.
func (r *Registry[K, V]) run(ctx context.Context, it *item[K, V], f *flight[K, V]) {
	var v V
	err := errGoexit
	defer func() {
		f.cancel()
		r.land(it, f, v, err)
	}()
	if err = r.reserve(ctx, it.group, f.size, true); err == nil {
		f.reserved = true
		err = errGoexit
		v, err = call(ctx, f.load)
	}
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

// land ends a flight.
func (r *Registry[K, V]) land(it *item[K, V], f *flight[K, V], v V, err error) {
	r.mu.Lock()
	it.group.loading--
	if f.reserved {
		r.reserved -= f.size
		it.group.reserved -= f.size
	}
	if err == nil {
		r.arriveLocked(it, f, v)
	} else {
		r.failLocked(it, f, err)
	}
	doomed := err == nil && it.doomed && r.claimLocked(it)
	untold := err != nil && f.owner == nil && !f.cancelled && !r.closed
	r.unlock()
	if untold {
		r.failed(it.key, err)
	}
	r.changed(it.key)
	if doomed {
		_ = r.free(it, ReasonDoomed, notCurrent)
	}
}

// arriveLocked makes a loaded item resident and gives all who wait their
// reference: nobody can evict it before they have it.
func (r *Registry[K, V]) arriveLocked(it *item[K, V], f *flight[K, V], v V) {
	it.flight = nil
	r.settleLocked(it, v)
	it.group.loads++
	r.stats.Loads++
	for _, w := range append(f.waiters, f.owner) {
		if w != nil && !w.inBackground() {
			w.told <- outcome[V]{lease: r.leaseLocked(it)}
		}
	}
	r.placeLocked(it) // after the references: what is in use is due for nothing
}

// settleLocked makes an item resident. The caller places it.
func (r *Registry[K, V]) settleLocked(it *item[K, V], v V) {
	it.value, it.state = v, resident
	r.seenLocked(it)
	g := it.group
	g.members.add(it)
	g.loadedAt, g.lastError = time.Now(), nil
	r.resident += it.size
	if it.doomed {
		r.lingerLocked(it, it.size)
	} else {
		g.resident += it.size
	}
	if it.last {
		g.lasts++
	}
}

// failLocked gives a load's error to its owner, and flies the next waiter's;
// without one the item is absent.
func (r *Registry[K, V]) failLocked(it *item[K, V], f *flight[K, V], err error) {
	g := it.group
	if f.reserved {
		r.occupyLocked(g, -1)
		r.movedLocked()
	}
	switch {
	case r.closed:
		err = ErrClosed
	case f.cancelled:
	case f.reserved:
		r.stats.LoadFailures++
		g.lastError = err
	default:
		g.lastError = err // no room
	}
	if f.owner != nil {
		f.owner.told <- outcome[V]{err: err}
	}
	if len(f.waiters) > 0 && !r.closed {
		r.flyLocked(it, f.waiters[0], f.waiters[1:])
		return
	}
	it.state, it.flight = absent, nil
	if r.items[it.key] == it {
		delete(r.items, it.key)
	}
}
