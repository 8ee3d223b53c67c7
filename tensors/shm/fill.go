// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
)

// Reads in flight, and the size of each: where a fast disk gives no more
// (BenchmarkFillTuning). More in flight costs threads and gains nothing, and so
// does touching the segment's pages ahead of the reads.
const (
	inFlight  = 8
	chunkSize = 4 << 20
)

// Fill reads n bytes of an origin, from off, into the segment at dst. Many reads
// are in flight, with O_DIRECT straight into the segment's pages where the origin
// can do that and the offsets allow it; through bounded bounce buffers where they
// are not aligned; and where the origin has no direct reads, through the page
// cache without leaving a second copy there. Bytes of the segment outside of
// dst to dst+n stay as they are.
//
// progress, which may be nil, is told how many bytes have arrived: in order, from
// the goroutine that called Fill, at the end n. It should not block. A cancelled
// context ends the filling after the reads that are in flight.
func (b *Builder) Fill(ctx context.Context, origin *os.File, off, n, dst int64, progress func(int64)) error {
	f := filling{off: off, n: n, dst: dst, inFlight: inFlight, chunk: chunkSize}
	return b.fill(ctx, origin, f, progress)
}

// filling is what one Fill does.
type filling struct {
	off, n, dst int64
	inFlight    int
	chunk       int64 // a multiple of the page size
	buffered    bool  // no direct reads, whether the origin has them or not
}

func (b *Builder) fill(ctx context.Context, origin *os.File, f filling, progress func(int64)) error {
	switch {
	case f.n < 0 || f.dst < 0 || f.dst > b.size || f.n > b.size-f.dst:
		return fmt.Errorf("fill %s: %d bytes at %d do not fit into %d: %w", b.name, f.n, f.dst, b.size, os.ErrInvalid)
	case f.off < 0 || f.off > math.MaxInt64-f.n-f.chunk:
		return fmt.Errorf("fill %s: no file has %d bytes at %d: %w", b.name, f.n, f.off, os.ErrInvalid)
	case b.file == nil:
		return fmt.Errorf("fill %s: %w", b.name, os.ErrClosed)
	case f.n == 0:
		return nil
	case b.Bytes() == nil:
		return b.err
	}
	to := b.bytes[f.dst : f.dst+f.n : f.dst+f.n]
	if f.dst+f.n == b.size {
		to = b.bytes[f.dst:][:f.n] // up to the mapping's end nothing else lies
	}
	from := openOrigin(origin, f.buffered)
	defer from.close()
	if progress == nil {
		progress = func(int64) {}
	}
	return f.run(ctx, from, to, progress)
}

// run reads the chunks. They begin at multiples of the chunk's size in the
// origin: pages of it, huge ones in the page cache too, belong to one chunk, and
// only the last one's direct read may go on behind its end.
func (f *filling) run(ctx context.Context, from *reader, to []byte, progress func(int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	first := f.off - f.off%f.chunk
	chunks := (f.off + f.n - first + f.chunk - 1) / f.chunk
	var next atomic.Int64
	arrived := make(chan int64, f.inFlight)
	var group sync.WaitGroup
	for range min(int64(f.inFlight), chunks) {
		group.Go(func() {
			w := from.worker()
			defer w.close()
			for i := next.Add(1) - 1; i < chunks && ctx.Err() == nil; i = next.Add(1) - 1 {
				lo := max(f.off, first+i*f.chunk) - f.off
				hi := min(f.off+f.n, first+(i+1)*f.chunk) - f.off
				if err := w.read(to[lo:hi], f.off+lo, f.dst+lo); err != nil {
					cancel(err)
					return
				}
				arrived <- hi - lo
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

// short says that an origin ends got bytes behind off instead of want.
func short(origin *os.File, off, want, got int64) error {
	return fmt.Errorf("read %s: it ends at %d, %d bytes early: %w", origin.Name(), off+got, want-got, ErrShortOrigin)
}
