// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import "time"

// node is a call that waits.
type node[T any] struct {
	Item[T]
	number  uint64 // in the order of arrival
	came    time.Time
	expires time.Time   // zero: never
	stop    func() bool // ends what watches the context; nil: nothing does
	waits   bool        // it is in the queue

	caller   *caller[T]
	bucket   *bucket[T] // nil: it goes alone
	ofCaller links[node[T]]
	ofBucket links[node[T]]
	ofKind   links[node[T]] // or of policy.alone
	inHeap   int            // its place among those that expire, from 1 on
}

// level is the calls of one priority.
type level[T any] struct {
	number uint64
	turns  list[caller[T]] // whose turn it is first
	passed int             // batches that others led while calls waited here
}

// caller is the calls of one caller in one level, all kinds together.
type caller[T any] struct {
	key     callerKey
	level   *level[T]
	calls   list[node[T]]
	inLevel links[caller[T]]
}

type callerKey struct {
	level uint64
	name  string
}

// kind is calls that can go together.
type kind[T any] struct {
	name  string
	rows  int
	calls list[node[T]] // all, the oldest first
	rings []ring[T]     // by level, the first first
}

// ring is the calls of one kind in one level.
type ring[T any] struct {
	level uint64
	turns list[bucket[T]]
}

// bucket is the calls of one kind and one caller, in one level.
type bucket[T any] struct {
	kind   *kind[T]
	caller *caller[T]
	calls  list[node[T]]
	inRing links[bucket[T]]
}

type bucketKey[T any] struct {
	caller *caller[T]
	kind   *kind[T]
}

// places are the links of every sort of list. Each policy makes them once: the value of
// a generic function is an allocation.
type places[T any] struct {
	level                func(*caller[T]) *links[caller[T]]
	ring                 func(*bucket[T]) *links[bucket[T]]
	caller, bucket, kind func(*node[T]) *links[node[T]]
}

func inLevel[T any](c *caller[T]) *links[caller[T]] { return &c.inLevel }
func inRing[T any](b *bucket[T]) *links[bucket[T]]  { return &b.inRing }
func inCaller[T any](n *node[T]) *links[node[T]]    { return &n.ofCaller }
func inBucket[T any](n *node[T]) *links[node[T]]    { return &n.ofBucket }
func inKind[T any](n *node[T]) *links[node[T]]      { return &n.ofKind }

// expiring is a heap of the calls whose time runs out, for container/heap.
type expiring[T any] []*node[T]

func (e expiring[T]) Len() int           { return len(e) }
func (e expiring[T]) Less(i, j int) bool { return e[i].expires.Before(e[j].expires) }
func (e expiring[T]) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].inHeap, e[j].inHeap = i+1, j+1
}

func (e *expiring[T]) Push(x any) {
	n := x.(*node[T])
	*e = append(*e, n)
	n.inHeap = len(*e)
}

func (e *expiring[T]) Pop() any {
	last := len(*e) - 1
	n := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	n.inHeap = 0
	return n
}
