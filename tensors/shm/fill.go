// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync"
)

// How a Fill moves bytes: so many reads in flight, the size of each, the size of a
// write (a huge page), and how many of those are being gathered. All of it stays
// in a processor's cache; more, or larger, is slower (BenchmarkFillTuning).
const (
	inFlight  = 8
	readSize  = 512 << 10
	batchSize = 2 << 20
	batches   = 4
)

// Fill reads n bytes of an origin, from off, into the segment at dst. Many reads
// are in flight, with O_DIRECT where the origin can do that, and else through the
// page cache without leaving a second copy there. Bytes of the segment outside of
// dst to dst+n stay as they are.
//
// The reads go into buffers, and from there by write(2) into the segment, a huge
// page at a time. A read straight into the segment's pages saves the copy, but they
// are new, and the kernel fills each with zeros first, which costs as much; it does
// not for a write of the whole page. And what a disk delivers into memory that is in
// no cache arrives at two thirds of the speed (docs/decisions/0008-cold-loads.md).
//
// progress, which may be nil, is told how many bytes have arrived: in order, from
// the goroutine that called Fill, at the end n. It should not block. A cancelled
// context ends the filling after the reads that are in flight.
func (b *Builder) Fill(ctx context.Context, origin *os.File, off, n, dst int64, progress func(int64)) error {
	f := filling{off: off, n: n, dst: dst, inFlight: inFlight, read: readSize, batch: batchSize, batches: batches}
	return b.fill(ctx, origin, f, progress)
}

// filling is what one Fill does.
type filling struct {
	off, n, dst int64
	inFlight    int
	read, batch int64 // multiples of the page size
	batches     int
	buffered    bool // no direct reads, whether the origin has them or not
}

func (b *Builder) fill(ctx context.Context, origin *os.File, f filling, progress func(int64)) error {
	switch {
	case f.n < 0 || f.dst < 0 || f.dst > b.size || f.n > b.size-f.dst:
		return fmt.Errorf("fill %s: %d bytes at %d do not fit into %d: %w", b.name, f.n, f.dst, b.size, os.ErrInvalid)
	case f.off < 0 || f.off > math.MaxInt64-f.n-f.batch:
		return fmt.Errorf("fill %s: no file has %d bytes at %d: %w", b.name, f.n, f.off, os.ErrInvalid)
	case b.file == nil:
		return fmt.Errorf("fill %s: %w", b.name, os.ErrClosed)
	case f.n == 0:
		return nil
	case b.Bytes() == nil:
		return b.err
	}
	from := openOrigin(origin, f.buffered)
	defer from.close()
	if progress == nil {
		progress = func(int64) {}
	}
	return f.run(ctx, from, b, progress)
}

// run has inFlight goroutines read. Who reads the last piece of a batch writes it.
func (f *filling) run(ctx context.Context, from *reader, to *Builder, progress func(int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q, release, err := f.queue(f.lead(from))
	if err != nil {
		return err
	}
	defer release()
	arrived := make(chan int64, f.inFlight)
	var group sync.WaitGroup
	for range min(int64(f.inFlight), (f.n+f.read-1)/f.read) {
		group.Go(func() {
			for p, ok := q.next(ctx); ok; p, ok = q.next(ctx) {
				done, err := p.move(from, to)
				if err != nil {
					cancel(err)
					return
				}
				if done {
					q.free <- p.of.buf
					arrived <- p.of.n
				}
			}
		})
	}
	go func() {
		group.Wait()
		close(arrived)
	}()
	var done int64
	for n := range arrived {
		done += n
		progress(done)
	}
	if done == f.n {
		return nil
	}
	return context.Cause(ctx)
}

// lead is how much of the first batch lies before the range. Batches begin at
// multiples of their size in the segment, so that they are whole huge pages there.
// In an origin that is read through the page cache they do so there, whose huge
// pages should belong to one batch, which lets go of them.
func (f *filling) lead(from *reader) int64 {
	if from.direct() {
		return f.dst % f.batch
	}
	return f.off % f.batch
}

// short says that an origin ends got bytes behind off instead of want.
func short(origin *os.File, off, want, got int64) error {
	return fmt.Errorf("read %s: it ends at %d, %d bytes early: %w", origin.Name(), off+got, want-got, ErrShortOrigin)
}
