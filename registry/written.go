// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
)

// Reserve takes room in the budget for bytes that are no item: what processes write,
// and what was freed and is still in use. Items make way for it by the policy; it is
// a *NoRoomError when not enough of them can. Every byte goes back by Unreserve, or
// becomes an item's by Put. The maximum of groups does not count it.
func (r *Registry[K, V]) Reserve(ctx context.Context, name string, bytes int64) error {
	if bytes < 0 {
		return fmt.Errorf("reserve for %s: %d bytes are negative", name, bytes)
	}
	r.mu.Lock()
	g, closed := r.groupLocked(name), r.closed
	r.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return r.reserve(ctx, g, bytes, false)
}

// Unreserve gives bytes of Reserve back.
func (r *Registry[K, V]) Unreserve(name string, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groupLocked(name)
	r.unreserveLocked(g, bytes)
	r.forgetLocked(g)
	r.movedLocked()
}

func (r *Registry[K, V]) unreserveLocked(g *group[K, V], bytes int64) {
	if bytes > g.written {
		panic(fmt.Sprintf("registry: %s gives back %d bytes and has %d", g.name, bytes, g.written))
	}
	g.written -= bytes
	r.written -= bytes
	r.heldLocked(g)
}

// heldLocked keeps the set of groups that have bytes of Reserve.
func (r *Registry[K, V]) heldLocked(g *group[K, V]) {
	if g.written > 0 {
		r.writing[g] = struct{}{}
	} else {
		delete(r.writing, g)
	}
}

// Put makes a value that exists already an item, without a load; its bytes are taken
// from those that were reserved as name. It is false, and changes nothing, if the
// key has an item or the registry is closed.
func (r *Registry[K, V]) Put(key K, size int64, v V, name string) bool {
	home := r.homeOf(key)
	r.mu.Lock()
	if r.closed || r.items[key] != nil {
		r.mu.Unlock()
		return false
	}
	from := r.groupLocked(name)
	r.unreserveLocked(from, size)
	it := &item[K, V]{key: key, group: r.groupLocked(home.group), last: home.last, size: size}
	it.drop = func() { r.release(it) }
	r.items[key] = it
	r.settleLocked(it, v)
	r.occupyLocked(it.group, 1)
	r.unseen.add(it)
	r.placeLocked(it)
	r.forgetLocked(from)
	r.unlock()
	r.changed(key)
	return true
}
