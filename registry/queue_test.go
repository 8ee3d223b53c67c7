// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestQueue compares with sorting, while items come and go, move back unseen and
// forward by put.
func TestQueue(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	q := queue[int, int]{
		belongs: func(it *item[int, int]) bool { return it.refs == 0 },
		rank:    func(it *item[int, int]) rank { return rank{it.asked, it.uses, it.tick} },
	}
	items := make([]*item[int, int], 300)
	for i := range items {
		items[i] = &item[int, int]{key: i, tick: int64(i)}
		q.put(items[i])
	}
	for step := range 3000 {
		it := items[rnd.IntN(len(items))]
		switch rnd.IntN(6) {
		case 0:
			it.refs = 1 // unseen
		case 1:
			it.refs = 0
			q.keep(it)
		case 2:
			it.uses += int64(rnd.IntN(3)) // unseen
		case 3:
			it.asked = int64(rnd.IntN(5))
			q.put(it)
		case 4:
			it.uses /= 2
			q.put(it)
		case 5: // all move, unseen: first has to look at every item
			if rnd.IntN(50) == 0 {
				for _, it := range items {
					it.tick += int64(rnd.IntN(1000)) * 1000
				}
			}
		}
		checkQueue(t, &q)
		if step%3 > 0 {
			continue
		}
		want := slices.MinFunc(items, func(a, b *item[int, int]) int {
			switch {
			case a.refs != b.refs:
				return a.refs - b.refs
			case q.rank(a).before(q.rank(b)):
				return -1
			}
			return 1
		})
		if got := q.first(); got != want {
			t.Fatalf("step %d: first is %v %v, want %v %v", step, got.key, q.rank(got), want.key, q.rank(want))
		}
	}
}

func TestQueueRenew(t *testing.T) {
	q := queue[int, int]{
		belongs: func(it *item[int, int]) bool { return it.refs == 0 },
		rank:    func(it *item[int, int]) rank { return rank{it.uses} },
	}
	items := make([]*item[int, int], 1000)
	for i := range items {
		items[i] = &item[int, int]{key: i, uses: int64(i)}
		q.put(items[i])
	}
	for i, it := range items {
		if it.uses += int64(2000 - 2*i); i%2 == 0 { // the other way round, every other one in use
			it.refs = 1
		}
	}
	for i := len(items) - 1; i > 0; i -= 2 {
		it := q.first()
		if it == nil || it.key != i {
			t.Fatalf("first is %v, want %d", it, i)
		}
		it.refs = 1
		checkQueue(t, &q)
	}
	if it := q.first(); it != nil || len(q.entries) != 0 {
		t.Errorf("first is %v of %d, want nobody", it, len(q.entries))
	}
}

func TestSet(t *testing.T) {
	s := set[int, int]{slot: inUnseen}
	a, b, c := &item[int, int]{key: 1}, &item[int, int]{key: 2}, &item[int, int]{key: 3}
	s.remove(a)
	for _, it := range []*item[int, int]{a, b, b, c, a} {
		s.add(it)
	}
	s.remove(a)
	s.remove(a)
	if len(s.items) != 2 || s.has(a) || !s.has(b) || !s.has(c) {
		t.Errorf("set is %v", s.items)
	}
	s.remove(c)
	s.remove(b)
	if len(s.items) != 0 || s.has(b) || s.has(c) {
		t.Errorf("set is %v", s.items)
	}
}
