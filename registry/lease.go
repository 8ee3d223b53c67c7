// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import "sync/atomic"

// Lease is one reference on a resident item.
type Lease[V any] struct {
	value    V
	drop     func()
	released atomic.Bool
}

// Value is the item's value; it is valid until Release.
func (l *Lease[V]) Value() V { return l.value }

// Release gives the reference back. It is idempotent; the time of the first call
// is the item's last use.
func (l *Lease[V]) Release() {
	if l.released.CompareAndSwap(false, true) {
		l.drop()
	}
}

func (r *Registry[K, V]) leaseLocked(it *item[K, V]) *Lease[V] {
	r.useLocked(it)
	it.refs++
	it.leases++
	it.group.refs++
	return &Lease[V]{value: it.value, drop: it.drop}
}

// release gives one reference back. Of a doomed item the last one frees it.
func (r *Registry[K, V]) release(it *item[K, V]) {
	r.mu.Lock()
	it.refs--
	it.group.refs--
	r.seenLocked(it)
	doomed := false
	if it.refs == 0 {
		r.unseen.add(it)
		r.idledLocked(it)
		doomed = it.doomed && r.claimLocked(it)
	}
	r.unlock()
	if doomed {
		_ = r.free(it, ReasonDoomed, notCurrent)
	}
}

// idledLocked follows the end of the last reference. The queues mostly have the
// item still.
func (r *Registry[K, V]) idledLocked(it *item[K, V]) {
	if it.asked > 0 || it.quiet {
		it.asked, it.quiet = 0, false
		r.placeLocked(it)
		return
	}
	r.victims.keep(it)
	r.expiring.keep(it)
	r.hurryLocked(it)
}
