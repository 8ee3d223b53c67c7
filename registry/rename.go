// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

// Rename gives a resident item another key, and with it the group of that: its
// references, its last use and its bytes go along. It is false, and changes nothing, if
// there is no such item, it is being freed, or the new key has an item.
func (r *Registry[K, V]) Rename(from, to K) bool {
	home := r.homeOf(to)
	r.mu.Lock()
	defer r.unlock()
	it := r.items[from]
	if it == nil || it.state != resident || r.items[to] != nil {
		return false
	}
	delete(r.items, from)
	it.key = to
	r.items[to] = it
	old, now := it.group, r.groupLocked(home.group)
	r.leaveLocked(it)
	it.group, it.last = now, home.last
	r.joinLocked(it)
	if now.loadedAt.IsZero() {
		now.loadedAt = old.loadedAt
	}
	if it.lastUsed.After(now.lastUsed) {
		now.lastUsed, now.tick = it.lastUsed, it.tick
	}
	r.forgetLocked(old)
	r.placeLocked(it)
	return true
}

// leaveLocked takes a member that can be found out of its group, joinLocked puts it in.
func (r *Registry[K, V]) leaveLocked(it *item[K, V]) {
	g := it.group
	g.members.remove(it)
	r.tallyLocked(it, -1)
}

func (r *Registry[K, V]) joinLocked(it *item[K, V]) {
	it.group.members.add(it)
	r.tallyLocked(it, 1)
}

func (r *Registry[K, V]) tallyLocked(it *item[K, V], by int) {
	g := it.group
	g.refs += by * it.refs
	g.uses += int64(by) * it.uses
	g.resident += int64(by) * it.size
	if it.last {
		g.lasts += by
	}
	r.occupyLocked(g, by)
}

// Guard keeps the resident ones of some items from being freed until release is
// called. It counts no hit and no use.
func (r *Registry[K, V]) Guard(keys ...K) (release func()) {
	var mine []*item[K, V]
	r.mu.Lock()
	for _, k := range keys {
		if it := r.items[k]; it != nil && it.state == resident {
			it.refs++
			it.leases++
			it.group.refs++
			mine = append(mine, it)
		}
	}
	r.mu.Unlock()
	return func() {
		for _, it := range mine {
			r.release(it)
		}
		mine = nil
	}
}
