// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"slices"
	"time"
)

type state int

const (
	loading state = iota
	resident
	evicting
	absent // freed: whoever still knows the item leaves it alone
)

// item is one value, from the start of its load until it is freed. Everything but
// what never changes is guarded by the registry's mutex.
type item[K comparable, V any] struct {
	key   K
	group *group[K, V]
	last  bool   // Config.Last
	drop  func() // gives one reference back
	value V      // written once, before the item is resident

	state  state
	size   int64
	doomed bool
	flight *flight[K, V] // while loading
	gone   chan struct{} // while evicting and somebody waits: closed when the outcome is known

	refs     int
	leases   int64 // references ever given
	uses     int64
	tick     int64 // of the last use
	lastUsed time.Time
	deadline int64 // by the clock, in nanoseconds since the registry was made

	// asked is the search that Config.Evict last refused, 0 if none did since
	// the last use.
	asked int64
	// quiet takes the item off the clock: Config.Evict said ErrBusy, and the next
	// Retry asks whether that has changed.
	quiet   bool
	claimed int64 // Registry.retries when its eviction began

	at [4]int // its places in the queues and sets, from 1; 0: not there
}

// Where an item may be; indices of item.at.
const (
	inVictims = iota
	inExpiring
	inUnseen
	inMembers
)

// seenLocked notes that an item is in use now.
func (r *Registry[K, V]) seenLocked(it *item[K, V]) {
	r.ticks++
	now := time.Now()
	it.tick, it.lastUsed = r.ticks, now
	it.group.tick, it.group.lastUsed = r.ticks, now
	r.expiresLocked(it)
}

// useLocked counts a use now.
func (r *Registry[K, V]) useLocked(it *item[K, V]) {
	r.seenLocked(it)
	it.uses++
	it.group.uses++
}

// idle says whether an item may be freed as far as the registry can see.
func (it *item[K, V]) idle() bool { return it.state == resident && it.refs == 0 }

// mayGo says whether an item may be freed when others need the room.
func (r *Registry[K, V]) mayGo(it *item[K, V]) bool {
	return it.idle() && (it.doomed || !it.group.pinned && r.cfg.Policy != Manual)
}

// victimRank is the order of victims: who refused comes after all others, the
// longest ago first; then the doomed, then what Config.Last does not mark, then
// the policy.
func (r *Registry[K, V]) victimRank(it *item[K, V]) rank {
	class := it.asked * 4
	if !it.doomed {
		class += 2
	}
	if it.last {
		class++
	}
	if r.cfg.Policy == LFU {
		return rank{class, it.uses, it.tick}
	}
	return rank{class, it.tick}
}

// mayExpire says whether an item goes by the clock.
func (r *Registry[K, V]) mayExpire(it *item[K, V]) bool {
	return it.idle() && it.group.ttl > 0 && !it.group.pinned && !it.doomed && !it.quiet
}

func expiryRank[K comparable, V any](it *item[K, V]) rank { return rank{it.deadline, it.tick} }

// placeLocked puts an item into the queues where it belongs now. Whoever changes
// what they depend on calls it; see queue for who need not.
func (r *Registry[K, V]) placeLocked(it *item[K, V]) {
	r.expiresLocked(it)
	r.victims.put(it)
	r.expiring.put(it)
	r.hurryLocked(it)
}

// sortByUseLocked sorts items by their last use, the longest ago first.
func sortByUseLocked[K comparable, V any](items []*item[K, V]) {
	slices.SortFunc(items, func(a, b *item[K, V]) int { return cmp.Compare(a.tick, b.tick) })
}
