// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"maps"
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
	Written             int64 // by Reserve
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
	s.Written = r.written
	return s
}

// GroupInfo is what is known of one group.
type GroupInfo struct {
	Items, Refs                    int // of lingering items too
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
		Items: len(g.members.items), Refs: g.refs,
		Resident: g.resident, Lingering: g.lingering, Reserved: g.reserved,
		Loads: g.loads, Hits: g.hits, Misses: g.misses, Evictions: g.gone,
		LastUsed: g.lastUsed, LoadedAt: g.loadedAt, LastError: g.lastError, Loading: g.loading > 0,
	}
}

// Keys returns the keys of a group's resident items, in no order.
func (r *Registry[K, V]) Keys(name string) []K {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[name]
	if g == nil || len(g.members.items) == 0 {
		return nil
	}
	keys := make([]K, 0, len(g.members.items))
	for _, it := range g.members.items {
		if !it.doomed {
			keys = append(keys, it.key)
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
