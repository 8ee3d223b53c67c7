// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"time"
)

const (
	// patience is how many batches may pass over a level before it leads one.
	patience = 8
	// spares is how many empty structures of each sort are kept for the next call.
	spares = 64
)

// policy is the calls that wait, and the choice among them. It does not look at a clock,
// waits for nothing and locks nothing.
type policy[T any] struct {
	cfg Config
	in  places[T]

	depth  int
	number uint64 // of the call that came last
	// piled is the last call for which no worker was idle at some moment since it came,
	// and so were all before it.
	piled    uint64
	draining bool

	levels  []*level[T] // those with calls, the first first
	callers map[callerKey]*caller[T]
	kinds   map[string]*kind[T]
	alone   list[node[T]] // the calls of no kind
	buckets map[bucketKey[T]]*bucket[T]
	expires expiring[T]

	// What was emptied: one caller who makes a call at a time would allocate them anew
	// with each.
	freeLevels  []*level[T]
	freeCallers []*caller[T]
	freeKinds   []*kind[T]
	freeBuckets []*bucket[T]
}

func newPolicy[T any](cfg Config) *policy[T] {
	cfg.Levels = max(cfg.Levels, 1)
	cfg.Default = min(max(cfg.Default, 1), cfg.Levels)
	in := places[T]{inLevel[T], inRing[T], inCaller[T], inBucket[T], inKind[T]}
	return &policy[T]{
		cfg:     cfg,
		in:      in,
		callers: make(map[callerKey]*caller[T]),
		kinds:   make(map[string]*kind[T]),
		alone:   list[node[T]]{at: in.kind},
		buckets: make(map[bucketKey[T]]*bucket[T]),
	}
}

// add puts a call behind those of its caller.
func (p *policy[T]) add(n *node[T], now time.Time) {
	p.number++
	p.depth++
	n.number, n.came, n.waits = p.number, now, true
	n.Rows = max(n.Rows, 1)
	if timeout := cmp.Or(n.Timeout, p.cfg.Timeout); timeout > 0 {
		n.expires = now.Add(timeout)
		heap.Push(&p.expires, n)
	}
	l := p.level(min(cmp.Or(n.Priority, p.cfg.Default), p.cfg.Levels))
	n.caller = p.caller(l, n.Caller)
	n.caller.calls.push(n)
	if n.Kind == "" || p.cfg.MaxBatch <= 1 {
		p.alone.push(n)
		return
	}
	k := p.kind(n.Kind)
	k.rows += n.Rows
	k.calls.push(n)
	n.bucket = p.bucket(n.caller, k)
	n.bucket.calls.push(n)
}

// remove takes a call out, from wherever it is.
func (p *policy[T]) remove(n *node[T]) {
	p.depth--
	n.waits = false
	if n.inHeap > 0 {
		heap.Remove(&p.expires, n.inHeap-1)
	}
	if b := n.bucket; b != nil {
		k := b.kind
		k.rows -= n.Rows
		k.calls.remove(n)
		b.calls.remove(n)
		if b.calls.first == nil {
			p.endBucket(b)
		}
		if k.calls.first == nil {
			delete(p.kinds, k.name)
			p.freeKinds = spare(p.freeKinds, k)
		}
	} else {
		p.alone.remove(n)
	}
	c := n.caller
	c.calls.remove(n)
	if c.calls.first != nil {
		return
	}
	delete(p.callers, c.key)
	c.level.turns.remove(c)
	p.freeCallers = spare(p.freeCallers, c)
	if l := c.level; l.turns.first == nil {
		p.levels = slices.DeleteFunc(p.levels, func(other *level[T]) bool { return other == l })
		p.freeLevels = spare(p.freeLevels, l)
	}
}

func (p *policy[T]) endBucket(b *bucket[T]) {
	delete(p.buckets, bucketKey[T]{b.caller, b.kind})
	i := slices.IndexFunc(b.kind.rings, func(r ring[T]) bool { return r.level == b.caller.key.level })
	b.kind.rings[i].turns.remove(b)
	if b.kind.rings[i].turns.first == nil {
		b.kind.rings = slices.Delete(b.kind.rings, i, i+1)
	}
	p.freeBuckets = spare(p.freeBuckets, b)
}

// expire takes out the calls whose time has run out.
func (p *policy[T]) expire(now time.Time, dropped []drop[T]) []drop[T] {
	for len(p.expires) > 0 && !now.Before(p.expires[0].expires) {
		n := p.expires[0]
		p.remove(n)
		dropped = append(dropped, drop[T]{n, ErrExpired})
	}
	return dropped
}

// drop is a call that goes without a batch, and why.
type drop[T any] struct {
	*node[T]
	err error
}

// next takes out the batch that goes now, of at most so many rows; none, if every call
// waits for company, or, for a worker that is busy, if the first is not to go ahead.
// Calls that turn out to be cancelled are dropped on the way.
func (p *policy[T]) next(now time.Time, most int, ahead bool, dropped []drop[T]) ([]*node[T], []drop[T]) {
	dropped = p.expire(now, dropped)
	most = p.most(most)
	for {
		lead := p.lead(now, most)
		if lead == nil || ahead && !lead.Ahead {
			return nil, dropped
		}
		if err := ended(lead.Context, now); err != nil {
			p.remove(lead)
			dropped = append(dropped, drop[T]{lead, err})
			continue
		}
		p.pass(lead.caller.level)
		var k *kind[T]
		if lead.bucket != nil {
			k = lead.bucket.kind
		}
		taken := append(make([]*node[T], 0, p.company(k, most)), lead)
		p.take(lead)
		if k != nil {
			taken, dropped = p.fill(k, now, most, taken, dropped)
		}
		return taken, dropped
	}
}

// most is a batch's rows at the most, for a worker with a limit of its own.
func (p *policy[T]) most(own int) int {
	if own > 0 && own < p.cfg.MaxBatch {
		return own
	}
	return p.cfg.MaxBatch
}

// company is about how many calls a batch will have.
func (p *policy[T]) company(k *kind[T], most int) int {
	if k == nil {
		return 1
	}
	return max(1, min(k.rows, most))
}

// lead is the call that goes first of those that need not wait.
func (p *policy[T]) lead(now time.Time, most int) *node[T] {
	if len(p.levels) == 0 {
		return nil
	}
	l := p.levels[0]
	for _, other := range p.levels[1:] {
		if other.passed >= patience && other.passed > l.passed {
			l = other
		}
	}
	n := l.turns.first.calls.first
	if n.bucket == nil || p.ready(n.bucket.kind, now, most) {
		return n
	}
	// It waits for company. A worker that waits with it can run something else meanwhile.
	var best *kind[T]
	for _, k := range p.kinds {
		if p.ready(k, now, most) && (best == nil || k.calls.first.number < best.calls.first.number) {
			best = k
		}
	}
	if best == nil || p.alone.first != nil && p.alone.first.number < best.calls.first.number {
		return p.alone.first
	}
	return best.rings[0].turns.first.calls.first
}

// ready says whether a batch of a kind goes now.
func (p *policy[T]) ready(k *kind[T], now time.Time, most int) bool {
	oldest := k.calls.first
	return p.cfg.MaxDelay <= 0 || p.draining || k.rows >= most || oldest.number <= p.piled ||
		!now.Before(oldest.came.Add(p.cfg.MaxDelay)) || slices.Contains(p.cfg.Preferred, k.rows)
}

// pass counts for whom a batch is that l leads.
func (p *policy[T]) pass(l *level[T]) {
	for _, other := range p.levels {
		other.passed++
	}
	l.passed = 0
}

// fill takes what goes with a lead: calls of its kind, callers in turn.
func (p *policy[T]) fill(k *kind[T], now time.Time, most int, taken []*node[T], dropped []drop[T]) ([]*node[T], []drop[T]) {
	rows := taken[0].Rows
	for i := 0; i < len(k.rings) && rows < most; {
		at := k.rings[i].level
		for b := k.rings[i].turns.first; b != nil && rows < most; {
			n, next := b.calls.first, b.inRing.next
			if err := ended(n.Context, now); err != nil {
				last := n.ofBucket.next == nil
				p.remove(n)
				dropped = append(dropped, drop[T]{n, err})
				if last {
					b = next
				}
				continue
			}
			if rows+n.Rows <= most {
				rows += n.Rows
				taken = append(taken, n)
				more := n.ofBucket.next != nil
				p.take(n)
				if more && next == nil {
					next = b // it was the last one, and is again
				}
			}
			b = next
		}
		if i < len(k.rings) && k.rings[i].level == at {
			i++
		}
	}
	return taken, dropped
}

// take is remove for a call that goes into a batch: that was its caller's turn.
func (p *policy[T]) take(n *node[T]) {
	c, b := n.caller, n.bucket
	if n.ofCaller.next != nil || n.ofCaller.prev != nil {
		c.level.turns.toEnd(c)
	}
	if b != nil && n.ofBucket.next != nil {
		i := slices.IndexFunc(b.kind.rings, func(r ring[T]) bool { return r.level == c.key.level })
		b.kind.rings[i].turns.toEnd(b)
	}
	p.remove(n)
}

// wake is when something happens without a new call: time runs out for one, or, for
// workers that wait, for a batch that waits for company. Zero: never.
func (p *policy[T]) wake(idle bool) time.Time {
	var at time.Time
	if len(p.expires) > 0 {
		at = p.expires[0].expires
	}
	if idle && p.cfg.MaxDelay > 0 {
		for _, k := range p.kinds {
			if goes := k.calls.first.came.Add(p.cfg.MaxDelay); at.IsZero() || goes.Before(at) {
				at = goes
			}
		}
	}
	return at
}

// busy says that no worker is idle: nothing that waits now will wait for company.
func (p *policy[T]) busy() { p.piled = p.number }

// ended is a context's error, DeadlineExceeded also when its timer is late.
func ended(ctx context.Context, now time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !now.Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

func (p *policy[T]) level(number uint64) *level[T] {
	i, ok := slices.BinarySearchFunc(p.levels, number, func(l *level[T], n uint64) int { return cmp.Compare(l.number, n) })
	if !ok {
		l := again(&p.freeLevels)
		*l = level[T]{number: number, turns: list[caller[T]]{at: p.in.level}}
		p.levels = slices.Insert(p.levels, i, l)
	}
	return p.levels[i]
}

func (p *policy[T]) caller(l *level[T], name string) *caller[T] {
	key := callerKey{l.number, name}
	c := p.callers[key]
	if c == nil {
		c = again(&p.freeCallers)
		*c = caller[T]{key: key, level: l, calls: list[node[T]]{at: p.in.caller}}
		p.callers[key] = c
		l.turns.push(c)
	}
	return c
}

func (p *policy[T]) kind(name string) *kind[T] {
	k := p.kinds[name]
	if k == nil {
		k = again(&p.freeKinds)
		*k = kind[T]{name: name, calls: list[node[T]]{at: p.in.kind}, rings: k.rings[:0]}
		p.kinds[name] = k
	}
	return k
}

func (p *policy[T]) bucket(c *caller[T], k *kind[T]) *bucket[T] {
	b := p.buckets[bucketKey[T]{c, k}]
	if b == nil {
		b = again(&p.freeBuckets)
		*b = bucket[T]{kind: k, caller: c, calls: list[node[T]]{at: p.in.bucket}}
		p.buckets[bucketKey[T]{c, k}] = b
		i, ok := slices.BinarySearchFunc(k.rings, c.key.level, func(r ring[T], n uint64) int { return cmp.Compare(r.level, n) })
		if !ok {
			k.rings = slices.Insert(k.rings, i, ring[T]{level: c.key.level, turns: list[bucket[T]]{at: p.in.ring}})
		}
		k.rings[i].turns.push(b)
	}
	return b
}

// again is a spare one, or a new one.
func again[S any](from *[]*S) *S {
	last := len(*from) - 1
	if last < 0 {
		return new(S)
	}
	s := (*from)[last]
	*from = (*from)[:last]
	return s
}

// spare keeps one for again, if there are few.
func spare[S any](in []*S, s *S) []*S {
	if len(in) >= spares {
		return in
	}
	return append(in, s)
}
