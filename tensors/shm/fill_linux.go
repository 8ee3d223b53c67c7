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

// close is called when nobody reads any more.
func (r *reader) close() {
	for _, fd := range []int{r.directFD, r.plainFD} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

const hugePage = 2 << 20

// newBuffer is memory in huge pages, where the kernel has them: direct reads that
// scatter over small ones are twice as slow.
func newBuffer(n int64) ([]byte, error) {
	if n > hugePage {
		n = (n + hugePage - 1) / hugePage * hugePage // else the kernel does not align it
	}
	m, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("buffer of %d bytes: %w", n, err)
	}
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // a kernel without them refuses
	return m, nil
}

func freeBuffer(m []byte) { _ = unix.Munmap(m) }

// write copies p into the segment. One at a time: the kernel takes a lock of the
// file for it, and who waits there burns a processor.
func (b *Builder) write(p []byte, at int64) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	for len(p) > 0 {
		n, err := unix.Pwrite(int(b.file.Fd()), p, at)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("write segment of %s at %d: %w", b.name, at, err)
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}

// read reads at least the first need bytes of p, which has whole pages, from off,
// where a page of the origin begins.
func (r *reader) read(p []byte, need, off int64) error {
	if r.direct() {
		err := r.past(p, need, off)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		r.buffered.Store(true) // takes O_DIRECT at open and refuses to read
	}
	return r.throughCache(p[:need], off)
}

// past reads past the page cache. Such a read takes whole pages, and ends early at
// the end of the file.
func (r *reader) past(p []byte, need, off int64) error {
	for got := int64(0); got < need; {
		n, err := unix.Pread(r.directFD, p[got:], off+got)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read %s at %d: %w", r.origin.Name(), off+got, err)
		}
		got += int64(n)
		// A read that stopped within a page is at the file's end too.
		if n == 0 || got < need && got%pageSize != 0 {
			return short(r.origin, off, need, got)
		}
	}
	return nil
}

// direct says whether reads go past the page cache, as far as it is known.
func (r *reader) direct() bool { return !r.buffered.Load() }

// throughCache reads through the page cache.
func (r *reader) throughCache(p []byte, off int64) error {
	n, err := r.readAt(p, off)
	if errors.Is(err, io.EOF) {
		return short(r.origin, off, int64(len(p)), int64(n))
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
