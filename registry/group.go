// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import "time"

// group is what pins, TTLs and the maximum apply to.
type group[K comparable, V any] struct {
	name   string
	apart  bool // Config.Apart
	pinned bool
	ttl    time.Duration

	members             set[K, V] // resident and evicting ones, doomed ones too
	refs, loading       int
	places              int   // members, and loads that have their bytes
	leaving             int   // members that are being evicted
	lasts               int   // members that Config.Last marks
	uses                int64 // the sum over the members
	tick, asked         int64 // as an item's
	resident, lingering int64
	reserved, written   int64

	loads, hits, misses, gone int64
	lastUsed, loadedAt        time.Time
	lastError                 error
}

func (r *Registry[K, V]) groupLocked(name string) *group[K, V] {
	g := r.groups[name]
	if g == nil {
		g = &group[K, V]{name: name, ttl: r.cfg.TTL, members: set[K, V]{slot: inMembers}}
		g.apart = r.cfg.Apart != nil && r.cfg.Apart(name)
		r.groups[name] = g
	}
	return g
}

// forgetLocked forgets a group of which there is nothing to be known: one for which
// somebody reserved bytes, or that is not counted.
func (r *Registry[K, V]) forgetLocked(g *group[K, V]) {
	told := g.pinned || g.ttl != r.cfg.TTL || g.loads+g.hits+g.misses+g.gone > 0
	if g.written > 0 || g.places > 0 || g.loading > 0 || len(g.members.items) > 0 || told && !g.apart {
		return
	}
	if r.groups[g.name] == g {
		delete(r.groups, g.name)
	}
}

// occupyLocked counts a group's places: those with any are what MaxGroups bounds.
func (r *Registry[K, V]) occupyLocked(g *group[K, V], by int) {
	before := g.places > 0
	g.places += by
	now := g.places > 0
	if now {
		r.occupied[g] = struct{}{}
	} else {
		delete(r.occupied, g)
	}
	switch {
	case g.apart || before == now:
	case now:
		r.places++
	default:
		r.places--
	}
}

// groupGoesBefore is the order of groups for the maximum.
func (r *Registry[K, V]) groupGoesBefore(a, b *group[K, V]) bool {
	switch {
	case (a.lasts > 0) != (b.lasts > 0):
		return b.lasts > 0
	case r.cfg.Policy == LFU && a.uses != b.uses:
		return a.uses < b.uses
	}
	return a.tick < b.tick
}

// Pin keeps a group from being evicted, also one with nothing resident. It does
// not load.
func (r *Registry[K, V]) Pin(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groupLocked(name)
	g.pinned = true
	r.regroupLocked(g)
}

// Unpin takes a pin back.
func (r *Registry[K, V]) Unpin(name string) {
	r.mu.Lock()
	if g := r.groups[name]; g != nil {
		g.pinned = false
		r.regroupLocked(g)
	}
	r.unlock()
}

// Pinned says whether a group is pinned.
func (r *Registry[K, V]) Pinned(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[name]
	return g != nil && g.pinned
}

// SetTTL gives a group a time to live of its own; 0: until the room is needed.
func (r *Registry[K, V]) SetTTL(name string, ttl time.Duration) {
	r.mu.Lock()
	g := r.groupLocked(name)
	g.ttl = ttl
	r.regroupLocked(g)
	r.unlock()
}

// TTL is the group's time to live.
func (r *Registry[K, V]) TTL(name string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.groups[name]; g != nil {
		return g.ttl
	}
	return r.cfg.TTL
}

// regroupLocked follows a change of a group's pin or TTL.
func (r *Registry[K, V]) regroupLocked(g *group[K, V]) {
	for _, it := range g.members.items {
		r.placeLocked(it)
	}
}
