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

// reserve takes the item's bytes out of the budget, freeing others by the
// policy. It holds no lock while they are freed.
func (r *Registry[K, V]) reserve(ctx context.Context, it *item[K, V]) error {
	busy := make(map[*item[K, V]]bool) // answered ErrBusy: not asked twice
	for {
		r.mu.Lock()
		missing := r.missingLocked(it)
		over := r.overMaxLocked(it)
		if missing <= 0 && !over {
			r.reserved += it.size
			it.group.reserved += it.size
			r.mu.Unlock()
			return nil
		}
		if r.cfg.Budget > 0 && it.size > r.cfg.Budget {
			err := r.noRoomLocked(it, false)
			r.mu.Unlock()
			return err
		}
		if missing <= r.evicting && r.evicting > 0 {
			// What is being freed is enough, if it goes.
			moved := r.moved
			r.mu.Unlock()
			select {
			case <-moved:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		victim := r.victimLocked(it, busy, over && missing <= 0)
		if victim == nil {
			err := r.noRoomLocked(it, over && missing <= 0)
			waiting, moved := r.evicting > 0, r.moved
			r.mu.Unlock()
			if !waiting {
				return err
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		why, note := ReasonRoom, fmt.Sprintf("last used %s ago, %d uses; %s needs %s",
			time.Since(victim.lastUsed).Round(time.Millisecond), victim.uses, it.group.name, Size(it.size))
		if missing <= 0 {
			why = ReasonMax
		}
		r.claimLocked(victim)
		r.mu.Unlock()
		if r.free(victim, why, note) != nil {
			busy[victim] = true
		}
	}
}

// missingLocked is how many bytes must go before the item fits.
func (r *Registry[K, V]) missingLocked(it *item[K, V]) int64 {
	if r.cfg.Budget <= 0 {
		return 0
	}
	return r.resident + r.reserved + it.size - r.cfg.Budget
}

// overMaxLocked says whether the item would bring one group too many.
func (r *Registry[K, V]) overMaxLocked(it *item[K, V]) bool {
	if r.cfg.MaxGroups <= 0 || it.group.items > 0 || it.group.reserved > 0 {
		return false
	}
	n := 0
	for _, g := range r.groups {
		if g.items > 0 || g.reserved > 0 {
			n++
		}
	}
	return n >= r.cfg.MaxGroups
}

// victimLocked chooses who goes first: an idle item of no pinned group, by the
// policy; items without an origin come last. For the maximum of groups, only
// items of groups without any reference help.
func (r *Registry[K, V]) victimLocked(need *item[K, V], busy map[*item[K, V]]bool, whole bool) *item[K, V] {
	if r.cfg.Policy == Manual {
		return nil
	}
	var best *item[K, V]
	for _, it := range r.items {
		if it.state != resident || it.refs > 0 || it.group.pinned || busy[it] {
			continue
		}
		if whole && (it.group.refs > 0 || it.group == need.group || r.partlyBusyLocked(it.group, busy)) {
			continue
		}
		if best == nil || r.before(it, best, whole) {
			best = it
		}
	}
	return best
}

func (r *Registry[K, V]) partlyBusyLocked(g *group, busy map[*item[K, V]]bool) bool {
	for it := range busy {
		if it.group == g {
			return true
		}
	}
	return false
}

// before orders victims.
func (r *Registry[K, V]) before(a, b *item[K, V], whole bool) bool {
	if r.cfg.Last != nil {
		if la, lb := r.cfg.Last(a.key), r.cfg.Last(b.key); la != lb {
			return lb
		}
	}
	if whole && a.group != b.group {
		return a.group.lastUsed.Before(b.group.lastUsed)
	}
	if r.cfg.Policy == LFU && a.uses != b.uses {
		return a.uses < b.uses
	}
	return a.lastUsed.Before(b.lastUsed)
}

// noRoomLocked says who holds what.
func (r *Registry[K, V]) noRoomLocked(it *item[K, V], maximum bool) error {
	e := &NoRoomError{
		Group: it.group.name, Need: it.size,
		Budget: r.cfg.Budget, Free: max(r.cfg.Budget-r.resident-r.reserved, 0),
	}
	if maximum {
		e.MaxGroups = r.cfg.MaxGroups
	}
	for _, g := range r.groups {
		if bytes := g.resident + g.lingering + g.reserved; bytes > 0 {
			e.Holders = append(e.Holders, Holder{g.name, bytes, g.refs, g.pinned})
		}
	}
	slices.SortFunc(e.Holders, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Group, b.Group))
	})
	return e
}
