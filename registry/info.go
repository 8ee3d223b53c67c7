// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"maps"
	"slices"
	"time"
)

// Stats counts since New; bytes are of now.
type Stats struct {
	Hits, Misses        int64
	Loads, LoadFailures int64
	Evictions           map[Reason]int64
	Resident            int64 // charged by items that can be found
	Lingering           int64 // charged by doomed items that somebody still uses
	Reserved            int64 // by loads that have not ended
}

// EvictionsTotal is the sum over the reasons.
func (s Stats) EvictionsTotal() int64 {
	var n int64
	for _, k := range s.Evictions {
		n += k
	}
	return n
}

// Stats returns the counters.
func (r *Registry[K, V]) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Evictions = maps.Clone(s.Evictions)
	s.Resident = r.resident - s.Lingering
	s.Reserved = r.reserved
	return s
}

// GroupInfo is what is known of one group.
type GroupInfo struct {
	Items, Refs                    int
	Resident, Lingering, Reserved  int64
	Loads, Hits, Misses, Evictions int64
	LastUsed, LoadedAt             time.Time
	LastError                      error // of the last load, nil once one succeeded
	Loading                        bool
}

// Group returns what is known of a group.
func (r *Registry[K, V]) Group(name string) GroupInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[name]
	if g == nil {
		return GroupInfo{}
	}
	return GroupInfo{
		Items: g.items, Refs: g.refs,
		Resident: g.resident, Lingering: g.lingering, Reserved: g.reserved,
		Loads: g.loads, Hits: g.hits, Misses: g.misses, Evictions: g.gone,
		LastUsed: g.lastUsed, LoadedAt: g.loadedAt, LastError: g.lastError, Loading: g.loading > 0,
	}
}

// Keys returns the keys of a group's resident items.
func (r *Registry[K, V]) Keys(name string) []K {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[name]
	if g == nil || g.items == 0 {
		return nil
	}
	var keys []K
	for k, it := range r.items {
		if it.group == g && it.state != loading {
			keys = append(keys, k)
		}
	}
	return keys
}

// Peek returns a resident item's value without counting a use and without a
// reference: the value may be freed at any time.
func (r *Registry[K, V]) Peek(key K) (v V, lastUsed time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := r.items[key]
	if it == nil || it.state == loading {
		return v, lastUsed, false
	}
	return it.value, it.lastUsed, true
}

// Touch counts a use of resident items now, without a reference.
func (r *Registry[K, V]) Touch(keys ...K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range keys {
		if it := r.items[k]; it != nil && it.state == resident {
			r.useLocked(it)
		}
	}
}

// Victims returns the last items that were freed, the newest last.
func (r *Registry[K, V]) Victims() []Victim[K] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.victims)
}

// Pin keeps a group from being evicted, also one with nothing resident. It does
// not load.
func (r *Registry[K, V]) Pin(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groupLocked(name).pinned = true
}

// Unpin takes a pin back.
func (r *Registry[K, V]) Unpin(name string) {
	r.mu.Lock()
	if g := r.groups[name]; g != nil {
		g.pinned = false
	}
	r.mu.Unlock()
	r.wake()
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
	r.mu.Unlock()
	r.wake()
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
