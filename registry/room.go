// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// reserve takes bytes for a group, and a place of the maximum if it needs one,
// freeing others by the policy. It holds no lock while they are freed. The turn
// keeps later ones from taking what this one has freed; it is never held for longer
// than evictions take.
func (r *Registry[K, V]) reserve(ctx context.Context, g *group[K, V], size int64, place bool) error {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	r.searches++
	search := r.searches
	r.mu.Unlock()
	for {
		if ctx.Err() != nil { // nobody waits: nobody goes
			return ctx.Err()
		}
		r.mu.Lock()
		if r.takeLocked(g, size, place) {
			r.mu.Unlock()
			return nil
		}
		p, err := r.planLocked(g, size, search, place)
		var moved chan struct{}
		if p == nil && r.evictions > 0 {
			moved = r.movesLocked() // what is being freed may do
		}
		r.mu.Unlock()
		switch {
		case p != nil && p.whole == nil:
			_ = r.free(p.items[0], p.why, p.note)
		case p != nil:
			r.freeWhole(p, search)
		case moved == nil:
			return err
		default:
			select {
			case <-moved:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// takeLocked reserves, if there is room.
func (r *Registry[K, V]) takeLocked(g *group[K, V], size int64, place bool) bool {
	if r.missingLocked(size) > 0 || place && r.overMaxLocked(g) {
		return false
	}
	if place {
		r.reserved += size
		g.reserved += size
		r.occupyLocked(g, 1)
	} else {
		g = r.groupLocked(g.name) // it may have been forgotten meanwhile
		r.written += size
		g.written += size
		r.heldLocked(g)
	}
	return true
}

// missingLocked is how many bytes must go before size fits.
func (r *Registry[K, V]) missingLocked(size int64) int64 {
	if r.cfg.Budget <= 0 {
		return 0
	}
	return size - r.freeLocked()
}

// freeLocked is what of the budget nobody has.
func (r *Registry[K, V]) freeLocked() int64 {
	return r.cfg.Budget - r.resident - r.reserved - r.written
}

// overMaxLocked says whether a group would be one too many.
func (r *Registry[K, V]) overMaxLocked(g *group[K, V]) bool {
	return r.cfg.MaxGroups > 0 && g.places == 0 && !g.apart && r.places >= r.cfg.MaxGroups
}

// plan is what to free next; the items are claimed.
type plan[K comparable, V any] struct {
	items []*item[K, V]
	whole *group[K, V] // all of it or nothing
	why   Reason
	note  string
}

// planLocked chooses who goes next: first whole groups for the maximum, whose
// bytes help too, then items. Without a plan what is being evicted right now may
// do; if nothing is, the error says why there is no room.
func (r *Registry[K, V]) planLocked(g *group[K, V], size, search int64, place bool) (*plan[K, V], error) {
	if r.cfg.Budget > 0 && size > r.cfg.Budget {
		return nil, r.noRoomLocked(g, size, false)
	}
	if place && r.overMaxLocked(g) {
		return r.planGroupLocked(g, size, search)
	}
	if r.missingLocked(size) <= r.evicting {
		return nil, nil
	}
	it := r.victims.first()
	if it == nil || it.asked == search {
		return nil, r.noRoomLocked(g, size, false)
	}
	p := &plan[K, V]{items: []*item[K, V]{it}, why: ReasonRoom}
	p.note = fmt.Sprintf("last used %s ago, %s; %s needs %s", ago(it.lastUsed), count(int(it.uses), "use"), g.name, Size(size))
	if it.doomed {
		p.why, p.note = ReasonDoomed, notCurrent
	}
	r.claimLocked(it)
	return p, nil
}

func ago(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

// planGroupLocked chooses the group that goes for the maximum: one without
// references, pins and loads.
func (r *Registry[K, V]) planGroupLocked(need *group[K, V], size, search int64) (*plan[K, V], error) {
	var best *group[K, V]
	for g := range r.occupied {
		if g.apart {
			continue
		}
		if g.leaving == g.places {
			return nil, nil
		}
		if r.cfg.Policy == Manual || g.pinned || g.refs > 0 || g.places > len(g.members.items) || g.asked == search {
			continue
		}
		if best == nil || r.groupGoesBefore(g, best) {
			best = g
		}
	}
	if best == nil {
		return nil, r.noRoomLocked(need, size, true)
	}
	return &plan[K, V]{
		items: r.claimGroupLocked(best), whole: best, why: ReasonMax,
		note: fmt.Sprintf("%s last used %s ago; %d are the maximum, and %s needs a place",
			best.name, ago(best.lastUsed), r.cfg.MaxGroups, need.name),
	}, nil
}

// freeWhole frees a group, if nobody uses any of it unseen.
func (r *Registry[K, V]) freeWhole(p *plan[K, V], search int64) {
	if r.freeAll(p.whole.name, p.items, p.why, p.note) != nil {
		r.mu.Lock()
		p.whole.asked = search
		r.mu.Unlock()
	}
}

// noRoomLocked says who holds what.
func (r *Registry[K, V]) noRoomLocked(need *group[K, V], size int64, maximum bool) error {
	e := &NoRoomError{
		Group: need.name, Need: size,
		Budget: r.cfg.Budget, Free: max(r.freeLocked(), 0),
		Manual: r.cfg.Policy == Manual,
	}
	if maximum {
		e.MaxGroups = r.cfg.MaxGroups
	}
	hold := func(g *group[K, V]) {
		if bytes := g.resident + g.lingering + g.reserved + g.written; bytes > 0 {
			e.Holders = append(e.Holders, Holder{
				Group: g.name, Bytes: bytes, Refs: g.refs, Pinned: g.pinned, Loading: g.reserved > 0, Written: g.written > 0,
			})
		}
	}
	for g := range r.occupied {
		hold(g)
	}
	for g := range r.writing {
		if _, both := r.occupied[g]; !both {
			hold(g)
		}
	}
	slices.SortFunc(e.Holders, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Group, b.Group))
	})
	return e
}
