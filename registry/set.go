// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

// set is some items, in no order. Unlike a map it costs nothing to look through
// after most of them have gone.
type set[K comparable, V any] struct {
	slot  int // the item's field for this set
	items []*item[K, V]
}

func (s *set[K, V]) has(it *item[K, V]) bool { return it.at[s.slot] > 0 }

func (s *set[K, V]) add(it *item[K, V]) {
	if !s.has(it) {
		s.items = append(s.items, it)
		it.at[s.slot] = len(s.items)
	}
}

func (s *set[K, V]) remove(it *item[K, V]) {
	if !s.has(it) {
		return
	}
	i, n := it.at[s.slot]-1, len(s.items)-1
	s.items[i] = s.items[n]
	s.items[i].at[s.slot] = i + 1
	s.items[n] = nil
	s.items = s.items[:n]
	it.at[s.slot] = 0
}
