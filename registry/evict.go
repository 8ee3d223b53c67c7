// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
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
	ReasonDoomed Reason = "doomed" // another generation took its place
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

// claimLocked begins the eviction of an idle resident item.
func (r *Registry[K, V]) claimLocked(it *item[K, V]) bool {
	if it.state != resident || it.refs > 0 {
		return false
	}
	it.state = evicting
	it.gone = make(chan struct{})
	r.evicting += it.size
	return true
}

// evict frees one item, if it is idle; ErrBusy otherwise.
func (r *Registry[K, V]) evict(it *item[K, V], why Reason, note string) error {
	r.mu.Lock()
	if !r.claimLocked(it) {
		refs, gone := it.refs, it.state != resident
		r.mu.Unlock()
		if gone {
			return nil
		}
		return fmt.Errorf("%d references: %w", refs, ErrBusy)
	}
	r.mu.Unlock()
	return r.free(it, why, note)
}

// free ends the eviction of a claimed item, one way or the other.
func (r *Registry[K, V]) free(it *item[K, V], why Reason, note string) error {
	err := r.cfg.Evict(it.key, it.value)
	r.mu.Lock()
	r.evicting -= it.size
	if err != nil {
		it.state = resident
		it.mapped = true
		it.lastUsed = time.Now() // somebody uses it now, only unseen
	} else {
		r.freedLocked(it, why, note)
	}
	close(it.gone)
	it.gone = nil
	r.movedLocked()
	r.mu.Unlock()
	if err == nil {
		r.changed(it.key)
	}
	return err
}

func (r *Registry[K, V]) freedLocked(it *item[K, V], why Reason, note string) {
	g := it.group
	if r.items[it.key] == it {
		delete(r.items, it.key)
	}
	r.resident -= it.size
	g.items--
	g.gone++
	if it.doomed {
		g.lingering -= it.size
		r.stats.Lingering -= it.size
	} else {
		g.resident -= it.size
	}
	r.stats.Evictions[why]++
	r.victims = append(r.victims, Victim[K]{it.key, time.Now(), it.size, why, note})
	if len(r.victims) > remembered {
		r.victims = r.victims[1:]
	}
}

// Evict frees one item. It is nil for one that is not resident, ErrBusy when the
// item is in use, ErrPinned when its group is pinned.
func (r *Registry[K, V]) Evict(key K) error {
	r.mu.Lock()
	it := r.items[key]
	if it == nil || it.state != resident {
		r.mu.Unlock()
		return nil
	}
	pinned := it.group.pinned
	r.mu.Unlock()
	if pinned {
		return fmt.Errorf("%s: %w", it.group.name, ErrPinned)
	}
	return r.evict(it, ReasonAsked, "")
}

// EvictGroup frees every item of a group. If any of them has references it frees
// nothing and answers ErrBusy; an item whose use only Config.Evict sees stays
// alone.
func (r *Registry[K, V]) EvictGroup(name string) error {
	r.mu.Lock()
	g := r.groups[name]
	if g == nil {
		r.mu.Unlock()
		return nil
	}
	if g.pinned {
		r.mu.Unlock()
		return fmt.Errorf("%s: %w", name, ErrPinned)
	}
	if g.refs > 0 {
		n := g.refs
		r.mu.Unlock()
		return fmt.Errorf("%s has %d references: %w", name, n, ErrBusy)
	}
	// In use unseen is in use: nothing of the group goes then.
	var mine []*item[K, V]
	for _, it := range r.items {
		if it.group == g && it.state == resident {
			mine = append(mine, it)
		}
	}
	r.mu.Unlock()
	for _, it := range mine {
		if r.inUse(it) {
			return fmt.Errorf("%s is mapped: %w", name, ErrBusy)
		}
	}
	var errs []error
	for _, it := range mine {
		errs = append(errs, r.evict(it, ReasonAsked, ""))
	}
	return errors.Join(errs...)
}

// inUse asks without freeing.
func (r *Registry[K, V]) inUse(it *item[K, V]) bool {
	return r.cfg.InUse != nil && r.cfg.InUse(it.key, it.value)
}

// EvictIdle frees every item that nobody uses and no pin keeps. busy counts the
// items that stay because somebody uses them.
func (r *Registry[K, V]) EvictIdle() (freed, busy int) {
	for _, it := range r.snapshot(func(it *item[K, V]) bool { return !it.group.pinned }) {
		switch err := r.evict(it, ReasonAsked, ""); {
		case err == nil:
			freed++
		case errors.Is(err, ErrBusy):
			busy++
		}
	}
	return freed, busy
}

// snapshot returns the resident items that keep is true for; keep runs under the
// lock.
func (r *Registry[K, V]) snapshot(keep func(*item[K, V]) bool) []*item[K, V] {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*item[K, V]
	for _, it := range r.items {
		if it.state == resident && keep(it) {
			out = append(out, it)
		}
	}
	return out
}

// Doom says that another generation has taken the item's place: it is freed as
// soon as nobody uses it, pinned or not, and counts as lingering until then.
func (r *Registry[K, V]) Doom(key K) {
	r.mu.Lock()
	it := r.items[key]
	if it == nil || it.doomed || it.state == loading {
		r.mu.Unlock()
		return
	}
	it.doomed = true
	it.group.resident -= it.size
	it.group.lingering += it.size
	r.stats.Lingering += it.size
	r.mu.Unlock()
	_ = r.evict(it, ReasonDoomed, "another generation is current")
}

// Retry says that somebody may have let go of a value unseen. Doomed items that
// are free now go; the others' time to live begins now. It returns how many went.
func (r *Registry[K, V]) Retry() int {
	n := 0
	for _, it := range r.snapshot(func(it *item[K, V]) bool { return it.refs == 0 && (it.doomed || it.mapped) }) {
		if it.doomed {
			if r.evict(it, ReasonDoomed, "another generation is current") == nil {
				n++
			}
			continue
		}
		if r.inUse(it) {
			continue
		}
		r.mu.Lock()
		if it.refs == 0 && it.mapped {
			it.mapped = false
			it.lastUsed = time.Now()
			it.group.lastUsed = it.lastUsed
		}
		r.mu.Unlock()
	}
	return n
}

// Sweep frees what nobody has used for its time to live, and says when to come
// back; 0: not by the clock.
func (r *Registry[K, V]) Sweep() time.Duration {
	now := time.Now()
	due := r.snapshot(func(it *item[K, V]) bool {
		ttl := it.group.ttl
		return it.refs == 0 && !it.group.pinned && ttl > 0 && !it.lastUsed.Add(ttl).After(now)
	})
	for _, it := range due {
		_ = r.evict(it, ReasonTTL, fmt.Sprintf("not used for %s", now.Sub(it.lastUsed).Round(time.Millisecond)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var next time.Duration
	now = time.Now()
	for _, it := range r.items {
		ttl := it.group.ttl
		if it.state != resident || it.refs > 0 || it.group.pinned || ttl <= 0 {
			continue
		}
		wait := max(it.lastUsed.Add(ttl).Sub(now), time.Millisecond)
		if next == 0 || wait < next {
			next = wait
		}
	}
	return next
}
