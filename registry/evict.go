// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
)

// Evict frees one item. It is nil for one that is not resident, ErrBusy when the
// item is in use, ErrPinned when its group is pinned.
func (r *Registry[K, V]) Evict(key K) error {
	for {
		r.mu.Lock()
		it := r.items[key]
		switch {
		case it == nil || it.state == loading:
			r.mu.Unlock()
			return nil
		case it.state == evicting:
			gone := it.goneLocked()
			r.mu.Unlock()
			<-gone
			continue
		case it.group.pinned:
			r.mu.Unlock()
			return fmt.Errorf("%s: %w", it.group.name, ErrPinned)
		case !r.claimLocked(it):
			refs := it.refs
			r.mu.Unlock()
			return fmt.Errorf("%s: %w", count(refs, "reference"), ErrBusy)
		}
		r.mu.Unlock()
		return r.free(it, ReasonAsked, "")
	}
}

// EvictGroup frees every resident item of a group; what loads is not touched. If
// any of them is in use, seen or unseen, it frees nothing and answers ErrBusy.
func (r *Registry[K, V]) EvictGroup(name string) error {
	r.mu.Lock()
	g := r.groups[name]
	switch {
	case g == nil:
		r.mu.Unlock()
		return nil
	case g.pinned:
		r.mu.Unlock()
		return fmt.Errorf("%s: %w", name, ErrPinned)
	case g.refs > 0:
		refs := g.refs
		r.mu.Unlock()
		return fmt.Errorf("%s has %s: %w", name, count(refs, "reference"), ErrBusy)
	}
	var others []*item[K, V] // whose end is somebody else's
	var ends []chan struct{}
	for _, it := range g.members.items {
		if it.state == evicting {
			others, ends = append(others, it), append(ends, it.goneLocked())
		}
	}
	mine := r.claimGroupLocked(g)
	r.mu.Unlock()
	errs := []error{r.freeAll(name, mine, ReasonAsked, "")}
	for i, it := range others {
		<-ends[i]
		r.mu.Lock()
		if g.members.has(it) {
			errs = append(errs, fmt.Errorf("%s is mapped: %w", name, ErrBusy))
		}
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

// EvictIdle frees every item that nobody uses and no pin keeps. busy counts the
// items that stay because somebody uses them.
func (r *Registry[K, V]) EvictIdle() (freed, busy int) {
	var mine []*item[K, V]
	r.mu.Lock()
	for g := range r.occupied {
		mine = append(mine, g.members.items...)
	}
	sortByUseLocked(mine)
	r.mu.Unlock()
	for _, it := range mine {
		r.mu.Lock()
		kept := it.group.pinned && !it.doomed
		claimed := !kept && r.claimLocked(it)
		if !kept && it.refs > 0 {
			busy++
		}
		r.mu.Unlock()
		if !claimed {
			continue
		}
		switch err := r.free(it, ReasonAsked, ""); {
		case err == nil:
			freed++
		case errors.Is(err, ErrBusy):
			busy++
		}
	}
	return freed, busy
}

// EvictNext frees the item that would go next if somebody needed room, and says
// whether one went: for what items hold beside bytes. Those that Config.Last marks stay.
func (r *Registry[K, V]) EvictNext(note string) bool {
	r.mu.Lock()
	r.searches++
	search := r.searches
	r.mu.Unlock()
	for {
		r.mu.Lock()
		it := r.victims.first()
		if it == nil || it.asked >= search || it.last && !it.doomed {
			r.mu.Unlock()
			return false
		}
		r.claimLocked(it)
		r.mu.Unlock()
		if r.free(it, ReasonRoom, note) == nil {
			return true
		}
	}
}
