// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"slices"
	"time"
)

// Reason says why an item was freed.
type Reason string

// The reasons.
const (
	ReasonRoom   Reason = "room"   // others needed the memory
	ReasonTTL    Reason = "ttl"    // nobody used it for its time to live
	ReasonMax    Reason = "max"    // the maximum of groups
	ReasonAsked  Reason = "asked"  // Evict, EvictGroup, EvictIdle
	ReasonDoomed Reason = "doomed" // another generation took its place, or none
)

// Victim is one item that was freed.
type Victim[K comparable] struct {
	Key   K
	At    time.Time
	Bytes int64
	Why   Reason
	Note  string // the numbers behind the reason
}

// Reason is the reason with its numbers.
func (v Victim[K]) Reason() string {
	if v.Note == "" {
		return string(v.Why)
	}
	return string(v.Why) + ": " + v.Note
}

// remembered is how many victims are kept.
const remembered = 32

func (r *Registry[K, V]) rememberLocked(it *item[K, V], why Reason, note string) {
	r.stats.Evictions[why]++
	if len(r.freed) == remembered {
		r.freed = slices.Delete(r.freed, 0, 1)
	}
	r.freed = append(r.freed, Victim[K]{it.key, time.Now(), it.size, why, note})
}

// Victims returns the last items that were freed, the newest last.
func (r *Registry[K, V]) Victims() []Victim[K] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.freed)
}
