// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import "cmp"

// rank is an item's place in an order: smaller goes first.
type rank [3]int64

func (a rank) before(b rank) bool {
	return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]), cmp.Compare(a[2], b[2])) < 0
}

// queue is a heap of items that knows the ranks they had when it last looked. A
// use only moves an item back, and a reference only takes it out, so neither
// touches the heap: first finds out. Whatever moves an item forward must put it.
//
// A list like golang-lru's is as cheap for LRU alone, but LFU, the clock with a TTL
// for each group, and pins that come and go all put items into the middle.
type queue[K comparable, V any] struct {
	slot    int                    // the item's field for this queue
	belongs func(*item[K, V]) bool //
	rank    func(*item[K, V]) rank //
	entries []entry[K, V]          // a binary heap
}

type entry[K comparable, V any] struct {
	rank
	it *item[K, V]
}

// first is who comes first, nil if nobody belongs here.
func (q *queue[K, V]) first() *item[K, V] {
	for late := 0; len(q.entries) > 0; late++ {
		e := &q.entries[0]
		now := q.rank(e.it)
		switch {
		case late > 64+len(q.entries)/16:
			q.renew()
			late = 0
		case !q.belongs(e.it):
			q.remove(0)
		case e.rank != now:
			e.rank = now
			q.down(0)
		default:
			return e.it
		}
	}
	return nil
}

// renew looks at every item anew: when many have moved, that is cheaper than to
// find out one by one.
func (q *queue[K, V]) renew() {
	old := q.entries
	q.entries = q.entries[:0]
	for _, e := range old {
		if e.it.at[q.slot] = 0; q.belongs(e.it) {
			q.entries = append(q.entries, entry[K, V]{q.rank(e.it), e.it})
			e.it.at[q.slot] = len(q.entries)
		}
	}
	clear(old[len(q.entries):])
	for i := len(q.entries)/2 - 1; i >= 0; i-- {
		q.down(i)
	}
}

// put places the item by what it is now, or takes it out. Only a reference, which
// leaves with put or first, and a later rank may come without it.
func (q *queue[K, V]) put(it *item[K, V]) {
	in, i := q.belongs(it), it.at[q.slot]-1
	switch {
	case in && i < 0:
		q.entries = append(q.entries, entry[K, V]{q.rank(it), it})
		q.up(len(q.entries) - 1)
	case in:
		q.entries[i].rank = q.rank(it)
		q.down(q.up(i))
	case i >= 0:
		q.remove(i)
	}
}

// keep is put for an item that has not moved forward.
func (q *queue[K, V]) keep(it *item[K, V]) {
	if !q.has(it) {
		q.put(it)
	}
}

// has says whether the item is somewhere in the heap.
func (q *queue[K, V]) has(it *item[K, V]) bool { return it.at[q.slot] > 0 }

func (q *queue[K, V]) remove(i int) {
	n := len(q.entries) - 1
	q.entries[i].it.at[q.slot] = 0
	moved := q.entries[n]
	q.entries[n] = entry[K, V]{}
	q.entries = q.entries[:n]
	if i < n {
		q.entries[i] = moved
		q.down(q.up(i))
	}
}

// up moves an entry towards the first, and returns where it is then.
func (q *queue[K, V]) up(i int) int {
	e := q.entries[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(q.entries[parent].rank) {
			break
		}
		q.set(i, q.entries[parent])
		i = parent
	}
	q.set(i, e)
	return i
}

// down moves an entry away from the first.
func (q *queue[K, V]) down(i int) {
	e := q.entries[i]
	for {
		child := 2*i + 1
		if child >= len(q.entries) {
			break
		}
		if right := child + 1; right < len(q.entries) && q.entries[right].before(q.entries[child].rank) {
			child = right
		}
		if !q.entries[child].before(e.rank) {
			break
		}
		q.set(i, q.entries[child])
		i = child
	}
	q.set(i, e)
}

func (q *queue[K, V]) set(i int, e entry[K, V]) {
	q.entries[i] = e
	e.it.at[q.slot] = i + 1
}
