// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
)

// claimLocked begins the eviction of an idle item: until its end nobody gets a
// reference, and nobody else evicts it.
func (r *Registry[K, V]) claimLocked(it *item[K, V]) bool {
	if !it.idle() {
		return false
	}
	it.state = evicting
	it.claimed = r.retries
	it.group.leaving++
	r.evicting += it.size
	r.evictions++
	r.placeLocked(it)
	return true
}

// claimGroupLocked claims all idle members of a group.
func (r *Registry[K, V]) claimGroupLocked(g *group[K, V]) []*item[K, V] {
	var mine []*item[K, V]
	for _, it := range g.members.items {
		if it.idle() {
			mine = append(mine, it)
		}
	}
	sortByUseLocked(mine)
	for _, it := range mine {
		r.claimLocked(it)
	}
	return mine
}

// unclaimLocked ends an eviction, one way or the other, and tells who waits.
func (r *Registry[K, V]) unclaimLocked(it *item[K, V]) {
	it.state = resident
	it.group.leaving--
	r.evicting -= it.size
	r.evictions--
	if it.gone != nil {
		close(it.gone)
		it.gone = nil
	}
	r.movedLocked()
}

// free ends the eviction of a claimed item.
func (r *Registry[K, V]) free(it *item[K, V], why Reason, note string) error {
	for {
		err := evictValue(r.cfg.Evict, it.key, it.value)
		r.mu.Lock()
		missed := it.claimed != r.retries // a Retry that passed over it
		r.unclaimLocked(it)
		if err == nil {
			r.freedLocked(it, why, note)
		} else {
			r.refusedLocked(it, errors.Is(err, ErrBusy) && !missed)
		}
		again := err != nil && missed && it.doomed && r.claimLocked(it)
		r.unlock()
		if err == nil {
			r.changed(it.key)
		}
		if !again {
			return err
		}
	}
}

// evictValue calls Config.Evict; a panic becomes its error, so that the item does
// not stay evicting.
func evictValue[K comparable, V any](evict func(K, V) error, key K, v V) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("evict panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return evict(key, v)
}

// refusedLocked keeps an item that Config.Evict did not free: somebody uses it now,
// only unseen. A quiet one waits for the next Retry instead of the clock.
func (r *Registry[K, V]) refusedLocked(it *item[K, V], quiet bool) {
	r.seenLocked(it)
	it.asked = r.searches
	it.quiet = quiet
	r.unseen.add(it)
	r.placeLocked(it)
}

// freedLocked forgets an item.
func (r *Registry[K, V]) freedLocked(it *item[K, V], why Reason, note string) {
	g := it.group
	it.state = absent
	if r.items[it.key] == it {
		delete(r.items, it.key)
	}
	r.unseen.remove(it)
	g.members.remove(it)
	r.resident -= it.size
	if it.doomed {
		r.lingerLocked(it, -it.size)
	} else {
		g.resident -= it.size
	}
	if it.last {
		g.lasts--
	}
	g.uses -= it.uses
	g.gone++
	r.occupyLocked(g, -1)
	r.rememberLocked(it, why, note)
	r.forgetLocked(g)
}

// freeAll frees claimed items of a group, or none of them if Config.InUse says
// that somebody uses one.
func (r *Registry[K, V]) freeAll(name string, mine []*item[K, V], why Reason, note string) error {
	if slices.ContainsFunc(mine, r.inUse) {
		r.giveUp(mine)
		return fmt.Errorf("%s is mapped: %w", name, ErrBusy)
	}
	var errs []error
	for _, it := range mine {
		errs = append(errs, r.free(it, why, note))
	}
	return errors.Join(errs...)
}

// giveUp ends evictions before their items were asked to go. What a Doom or a
// Retry passed over meanwhile is made up for.
func (r *Registry[K, V]) giveUp(mine []*item[K, V]) {
	var missed []*item[K, V]
	r.mu.Lock()
	for _, it := range mine {
		r.unclaimLocked(it)
		r.placeLocked(it)
		if it.doomed || it.claimed != r.retries {
			missed = append(missed, it)
		}
	}
	r.unlock()
	for _, it := range missed {
		r.retry(it)
	}
}

// inUse asks without freeing. What is in doubt is in use.
func (r *Registry[K, V]) inUse(it *item[K, V]) (used bool) {
	defer func() {
		if recover() != nil {
			used = true
		}
	}()
	if r.cfg.InUse == nil {
		return false
	}
	r.mu.Lock()
	key := it.key // see Rename
	r.mu.Unlock()
	return r.cfg.InUse(key, it.value)
}

// goneLocked is closed when the eviction of an item has ended.
func (it *item[K, V]) goneLocked() chan struct{} {
	if it.gone == nil {
		it.gone = make(chan struct{})
	}
	return it.gone
}

// movesLocked is closed when the next eviction has ended, or a reservation was
// given back.
func (r *Registry[K, V]) movesLocked() chan struct{} {
	if r.moved == nil {
		r.moved = make(chan struct{})
	}
	return r.moved
}

func (r *Registry[K, V]) movedLocked() {
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
}
