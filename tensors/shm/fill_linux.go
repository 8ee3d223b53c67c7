// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// reader reads an origin: with O_DIRECT, or through the page cache.
type reader struct {
	origin   *os.File
	directFD int // -1 where the origin has no direct reads
	buffered atomic.Bool

	once    sync.Once
	plainFD int // by plain; -1 before, and where it cannot be opened
}

// openOrigin opens the origin anew: its own descriptor's flags and readahead are
// its owner's.
func openOrigin(origin *os.File, buffered bool) *reader {
	r := &reader{origin: origin, directFD: -1, plainFD: -1}
	if !buffered {
		r.directFD, _ = openWith(origin, unix.O_DIRECT)
	}
	r.buffered.Store(r.directFD < 0)
	return r
}

// plain is a descriptor for reads through the page cache, without readahead:
// that would bring in what nobody drops again.
func (r *reader) plain() int {
	r.once.Do(func() {
		if r.plainFD, _ = openWith(r.origin, 0); r.plainFD >= 0 {
			_ = unix.Fadvise(r.plainFD, 0, 0, unix.FADV_RANDOM)
		}
	})
	if r.plainFD < 0 {
		return int(r.origin.Fd())
	}
	return r.plainFD
}

// close is called when no worker is left.
func (r *reader) close() {
	for _, fd := range []int{r.directFD, r.plainFD} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// worker is one of a reader's reads in flight.
type worker struct {
	*reader
	bounce []byte
}

func (r *reader) worker() *worker { return &worker{reader: r} }

func (w *worker) close() {
	if w.bounce != nil {
		_ = unix.Munmap(w.bounce)
	}
}

// read fills p with the origin's bytes from off; at is p's offset in the
// segment. Up to the capacity of p, a direct read may write behind it.
func (w *worker) read(p []byte, off, at int64) error {
	if !w.buffered.Load() {
		err := w.direct(p, off, at)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		w.buffered.Store(true) // takes O_DIRECT at open and refuses to read
	}
	return w.throughCache(p, off)
}

// direct reads what are whole pages both here and there straight into p, and the
// rest by whole pages into the bounce buffer.
func (w *worker) direct(p []byte, off, at int64) error {
	for len(p) > 0 {
		n := int64(len(p))
		var err error
		switch lead := off % pageSize; {
		case lead != at%pageSize:
			n = min(n, bounceSize-lead)
			err = w.bounced(p[:n], off)
		case lead != 0:
			n = min(n, pageSize-lead)
			err = w.bounced(p[:n], off)
		case roundUp(n) <= int64(cap(p)):
			err = w.fill(w.directFD, p[:roundUp(n)], n, off)
		case n >= pageSize:
			n -= n % pageSize
			err = w.fill(w.directFD, p[:n], n, off)
		default:
			err = w.bounced(p, off)
		}
		if err != nil {
			return err
		}
		p, off, at = p[n:], off+n, at+n
	}
	return nil
}

// bounceSize is what one read brings into a bounce buffer: a huge page.
const bounceSize = 2 << 20

// bounced reads the whole pages around a range and copies it out of them.
func (w *worker) bounced(p []byte, off int64) error {
	lead := off % pageSize
	need := lead + int64(len(p))
	if int64(len(w.bounce)) < roundUp(need) {
		w.close()
		var err error
		w.bounce, err = unix.Mmap(-1, 0, int(roundUp(need)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("bounce buffer: %w", err)
		}
		_ = unix.Madvise(w.bounce, unix.MADV_HUGEPAGE) // twice as fast as reads that scatter over small pages
	}
	if err := w.fill(w.directFD, w.bounce[:roundUp(need)], need, off-lead); err != nil {
		return err
	}
	copy(p, w.bounce[lead:need])
	return nil
}

// throughCache reads through the page cache.
func (w *worker) throughCache(p []byte, off int64) error {
	n, err := w.readAt(p, off)
	if errors.Is(err, io.EOF) {
		return short(w.origin, off, int64(len(p)), int64(n))
	}
	return err
}

// readAt reads through the page cache and lets go of what this read brought into
// it: what was cached before belongs to others.
func (r *reader) readAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	fd := r.plain()
	from := off - off%pageSize
	mine := absent(fd, from, roundUp(off+int64(len(p))-from), nil)
	n, err := r.pread(fd, p, off)
	for _, m := range mine {
		_ = unix.Fadvise(fd, m.off, m.n, unix.FADV_DONTNEED)
	}
	return n, err
}

// pread fills p; it is io.EOF where the file ends before.
func (r *reader) pread(fd int, p []byte, off int64) (int, error) {
	for got := 0; ; {
		n, err := unix.Pread(fd, p[got:], off+int64(got))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return got, fmt.Errorf("read %s at %d: %w", r.origin.Name(), off+int64(got), err)
		case n == 0:
			return got, io.EOF
		}
		if got += n; got == len(p) {
			return got, nil
		}
	}
}

// span is a range of an origin.
type span struct{ off, n int64 }

// absent appends the parts of a range that are not in the page cache, as far as
// halves of it down to 64 KiB tell.
func absent(fd int, off, n int64, to []span) []span {
	var stat unix.Cachestat_t
	r := unix.CachestatRange{Off: uint64(off), Len: uint64(n)}
	err := unix.Cachestat(uint(fd), &r, &stat, 0)
	switch {
	case err != nil: // before 6.5: nobody knows, so leave it alone
		return to
	case stat.Cache == 0:
		return append(to, span{off, n})
	case int64(stat.Cache)*int64(os.Getpagesize()) >= n || n <= 64<<10:
		return to
	}
	half := roundUp(n / 2)
	return absent(fd, off+half, n-half, absent(fd, off, half, to))
}

// fill reads at least the first need bytes of p. A direct read takes whole pages
// and ends early at the end of the file.
func (w *worker) fill(fd int, p []byte, need, off int64) error {
	for got := int64(0); got < need; {
		n, err := unix.Pread(fd, p[got:], off+got)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read %s at %d: %w", w.origin.Name(), off+got, err)
		}
		got += int64(n)
		// A direct read that stopped within a page is at the file's end too.
		if n == 0 || got < need && got%pageSize != 0 && fd == w.directFD {
			return short(w.origin, off, need, got)
		}
	}
	return nil
}
