// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"context"
	"sync"
	"sync/atomic"
)

// batch is a range that is written at once, while it is being read.
type batch struct {
	n, dst int64
	lead   int64  // bytes before the range, to the beginning of the origin's page
	buf    []byte // whole pages of the origin
	left   atomic.Int64
}

// piece is one read: what it needs of p, which has whole pages.
type piece struct {
	of        *batch
	p         []byte
	need, off int64
}

// pieces cuts a batch, which begins at off, at whole pages of the origin.
func (b *batch) pieces(off, size int64) []piece {
	count := (b.n + size - 1) / size
	b.left.Store(count)
	all := make([]piece, count)
	for i := range all {
		at, need := int64(i)*size, size
		if int64(i) == count-1 {
			need = b.lead + b.n - at
		}
		all[i] = piece{b, b.buf[at:][:roundUp(need)], need, off - b.lead + at}
	}
	return all
}

// move reads a piece, and if it was the batch's last writes that into the segment.
func (p piece) move(from *reader, to *Builder) (done bool, err error) {
	if err := from.read(p.p, p.need, p.off); err != nil {
		return false, err
	}
	if p.of.left.Add(-1) > 0 {
		return false, nil
	}
	return true, to.write(p.of.buf[p.of.lead:][:p.of.n], p.of.dst)
}

// queue is what is still to be read.
type queue struct {
	f    *filling
	free chan []byte // buffers, each for a batch

	turn   sync.Mutex
	begun  int64 // bytes of the range that are in batches
	end    int64 // of the next batch
	pieces []piece
}

// queue is what a Fill begins with, its buffers valid until release.
func (f *filling) queue(lead int64) (q *queue, release func(), err error) {
	n := int(min(int64(f.batches), (lead+f.n+f.batch-1)/f.batch))
	each := roundUp(min(f.batch, f.n)) + pageSize // the pages around what begins within one
	memory, err := newBuffer(each * int64(n))
	if err != nil {
		return nil, nil, err
	}
	q = &queue{f: f, free: make(chan []byte, n), end: f.batch - lead}
	for i := range int64(n) {
		q.free <- memory[i*each:][:each:each]
	}
	return q, func() { freeBuffer(memory) }, nil
}

// next is called by the readers themselves: a goroutine that hands out would have to
// wait until the scheduler sees that a reader, which keeps its processor, sleeps in
// the kernel. Who waits for a free buffer keeps the turn: nobody else has more to do.
func (q *queue) next(ctx context.Context) (piece, bool) {
	q.turn.Lock()
	defer q.turn.Unlock()
	if ctx.Err() != nil {
		return piece{}, false
	}
	if len(q.pieces) == 0 {
		if q.begun == q.f.n {
			return piece{}, false
		}
		select {
		case buf := <-q.free:
			q.begin(buf)
		case <-ctx.Done():
			return piece{}, false
		}
	}
	p := q.pieces[0]
	q.pieces = q.pieces[1:]
	return p, true
}

// begin cuts the next batch, which gets a buffer.
func (q *queue) begin(buf []byte) {
	off := q.f.off + q.begun
	end := min(q.end, q.f.n)
	b := &batch{n: end - q.begun, dst: q.f.dst + q.begun, lead: off % pageSize, buf: buf}
	q.pieces = b.pieces(off, q.f.read)
	q.begun, q.end = end, end+q.f.batch
}
