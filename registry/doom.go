// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import "slices"

const notCurrent = "another generation is current, or none"

// Doom says that another generation has taken the item's place, or none. Nobody finds it
// any more, and its key can be loaded anew at once. It is freed as soon as nobody
// uses it, pinned or not, and counts as lingering until then. A load goes on for
// those who wait for it.
func (r *Registry[K, V]) Doom(key K) {
	r.mu.Lock()
	it := r.items[key]
	if it == nil {
		r.mu.Unlock()
		return
	}
	delete(r.items, key)
	it.doomed = true
	claimed := false
	if f := it.flight; f == nil {
		it.group.resident -= it.size
		r.lingerLocked(it, it.size)
		r.placeLocked(it)
		claimed = r.claimLocked(it)
	} else {
		f.dropLocked()
	}
	r.mu.Unlock()
	if claimed {
		_ = r.free(it, ReasonDoomed, notCurrent)
	}
}

func (r *Registry[K, V]) lingerLocked(it *item[K, V], bytes int64) {
	it.group.lingering += bytes
	r.stats.Lingering += bytes
}

// Retry says that somebody may have let go of a value unseen. Doomed items that
// are free now go; the others' time to live begins now. It returns how many went.
func (r *Registry[K, V]) Retry() int {
	r.mu.Lock()
	r.retries++
	asked := slices.Clone(r.unseen.items)
	sortByUseLocked(asked) // who was used first stays first
	r.mu.Unlock()
	n := 0
	for _, it := range asked {
		if r.retry(it) {
			n++
		}
	}
	return n
}

func (r *Registry[K, V]) retry(it *item[K, V]) (freed bool) {
	r.mu.Lock()
	leases := it.leases
	ask := it.idle()
	doomed := it.doomed && r.claimLocked(it)
	r.mu.Unlock()
	switch {
	case doomed:
		return r.free(it, ReasonDoomed, notCurrent) == nil
	case !ask || r.inUse(it):
		return false
	}
	r.mu.Lock()
	if it.idle() && !it.doomed && it.leases == leases {
		r.unseen.remove(it)
		r.seenLocked(it)
		it.asked, it.quiet = 0, false
		r.placeLocked(it)
	}
	r.unlock()
	return false
}
