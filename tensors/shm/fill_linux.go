// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Reads in flight, and the size of each: where a fast disk gives no more (see
// docs/benchmarks.md). More in flight costs threads and gains nothing.
const (
	inFlight  = 8
	chunkSize = 4 << 20
)

// Fill reads n bytes of an origin, from off, into the segment at dst. Many reads
// are in flight, with O_DIRECT straight into the segment's pages where the origin
// can do that and the offsets allow it; through bounded bounce buffers where they
// are not aligned; and where the origin has no direct reads, through the page
// cache without leaving a second copy there. progress, which may be nil, is told
// how many bytes have arrived, from any goroutine.
func (b *Builder) Fill(ctx context.Context, origin *os.File, off, n, dst int64, progress func(int64)) error {
	if n == 0 {
		return nil
	}
	if b.Bytes() == nil {
		return b.err
	}
	if dst < 0 || n < 0 || dst+n > b.size {
		return fmt.Errorf("fill %s: %d bytes at %d do not fit into %d", b.name, n, dst, b.size)
	}
	f := &filling{
		origin: origin, off: off, n: n,
		dst:      b.bytes[dst:cap(b.bytes)],
		aligned:  off%pageSize == dst%pageSize && off%pageSize == 0,
		progress: progress,
	}
	f.direct, f.fd = openDirect(origin)
	defer f.closeDirect()
	return f.run(ctx)
}

// filling is one Fill.
type filling struct {
	origin   *os.File
	fd       int  // with O_DIRECT, if direct
	direct   bool //
	off, n   int64
	dst      []byte // from the destination to the end of the mapping
	aligned  bool   // pages of the origin are pages of the segment
	progress func(int64)

	next atomic.Int64 // the next chunk's offset from off
	done atomic.Int64
	give atomic.Bool // direct reads do not work here after all
}

// openDirect opens the origin once more for direct reads.
func openDirect(origin *os.File) (bool, int) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", origin.Fd()), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	return err == nil, fd
}

func (f *filling) closeDirect() {
	if f.direct {
		_ = unix.Close(f.fd)
	}
}

func (f *filling) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := min(inFlight, int((f.n+chunkSize-1)/chunkSize))
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			if err := f.work(ctx); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// work reads chunk after chunk.
func (f *filling) work(ctx context.Context) error {
	var bounce []byte
	if !f.aligned && f.direct {
		b, err := unix.Mmap(-1, 0, chunkSize+2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("bounce buffer: %w", err)
		}
		defer func() { _ = unix.Munmap(b) }()
		bounce = b
	}
	for ctx.Err() == nil {
		at := f.next.Add(chunkSize) - chunkSize
		if at >= f.n {
			return nil
		}
		size := min(chunkSize, f.n-at)
		if err := f.chunk(at, size, bounce); err != nil {
			return err
		}
		if done := f.done.Add(size); f.progress != nil {
			f.progress(done)
		}
	}
	return nil // the cause is kept by the context
}

func (f *filling) chunk(at, size int64, bounce []byte) error {
	if f.direct && !f.give.Load() {
		var err error
		if f.aligned {
			err = f.read(f.fd, f.dst[at:at+roundUp(size)], size, f.off+at)
		} else {
			err = f.bounced(bounce, at, size)
		}
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
		f.give.Store(true) // the filesystem takes O_DIRECT at open and refuses to read
	}
	return f.buffered(at, size)
}

// bounced reads the whole pages around a chunk and copies it out of them.
func (f *filling) bounced(bounce []byte, at, size int64) error {
	from := (f.off + at) &^ (pageSize - 1)
	lead := f.off + at - from
	if err := f.read(f.fd, bounce[:roundUp(lead+size)], lead+size, from); err != nil {
		return err
	}
	copy(f.dst[at:at+size], bounce[lead:lead+size])
	return nil
}

// buffered reads through the page cache and lets go of what this read brought
// into it: what was cached before belongs to others.
func (f *filling) buffered(at, size int64) error {
	fd := int(f.origin.Fd())
	had := cached(fd, f.off+at, size)
	err := f.read(fd, f.dst[at:at+size], size, f.off+at)
	if !had {
		_ = unix.Fadvise(fd, f.off+at, size, unix.FADV_DONTNEED)
	}
	return err
}

// read fills at least the first need bytes of p; a direct read takes whole pages
// and may end early at the end of the file.
func (f *filling) read(fd int, p []byte, need, off int64) error {
	for got := int64(0); got < need; {
		n, err := unix.Pread(fd, p[got:], off+got)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read %s at %d: %w", f.origin.Name(), off+got, err)
		case n == 0:
			return fmt.Errorf("read %s: it ends at %d, %d bytes early: %w", f.origin.Name(), off+got, need-got, ErrShortOrigin)
		}
		got += int64(n)
		if got < need && got%pageSize != 0 && fd == f.fd && f.direct {
			// A direct read that stopped within a page is at the file's end.
			return fmt.Errorf("read %s: it ends at %d, %d bytes early: %w", f.origin.Name(), off+got, need-got, ErrShortOrigin)
		}
	}
	return nil
}

// cached says whether any of a range is in the page cache.
func cached(fd int, off, n int64) bool {
	var stat unix.Cachestat_t
	r := unix.CachestatRange{Off: uint64(off), Len: uint64(n)}
	if err := unix.Cachestat(uint(fd), &r, &stat, 0); err != nil {
		return true // unknown: leave it alone
	}
	return stat.Cache > 0
}

// readAt is pread until the slice is full, as io.ReaderAt asks.
func readAt(fd int, p []byte, off int64) (int, error) {
	got := 0
	for got < len(p) {
		n, err := unix.Pread(fd, p[got:], off+int64(got))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return got, fmt.Errorf("read segment: %w", err)
		}
		if n == 0 {
			return got, io.EOF
		}
		got += n
	}
	return got, nil
}
