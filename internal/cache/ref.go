// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"io"
	"os"
	"sync"

	"github.com/modelfs/modelfs/registry"
	"github.com/modelfs/modelfs/tensors/shm"
)

// Ref is a reference on what an open reads. It satisfies fs.Content; the forms
// that lie in a file of their own satisfy fs.Mappable too.
type Ref interface {
	io.ReaderAt
	Close()
}

// segmentRef is a reference on a resident part.
type segmentRef struct {
	lease *registry.Lease[*shm.Segment]
}

func (r segmentRef) ReadAt(p []byte, off int64) (int, error) {
	return r.lease.Value().ReadAt(p, off)
}

// OpenBacking returns a fresh read-only descriptor: the lease test tells a
// registered one from the segment's own only if they are different opens.
func (r segmentRef) OpenBacking() (int, error) { return r.lease.Value().OpenBacking() }

// Close gives the reference back, and the descriptor that reads may have taken.
func (r segmentRef) Close() {
	s := r.lease.Value()
	r.lease.Release()
	s.Rest()
}

// originFile serves a whole weight file from its origin, over budget: the
// origin's page cache, no copy.
type originFile struct {
	file *os.File
	once sync.Once
}

func (r *originFile) ReadAt(p []byte, off int64) (int, error) { return r.file.ReadAt(p, off) }

func (r *originFile) OpenBacking() (int, error) { return reopen(r.file) }

func (r *originFile) Close() { r.once.Do(func() { _ = r.file.Close() }) }

// originRange serves a tensor from its origin, over budget. No file of its own
// holds it, so the kernel asks for every page.
type originRange struct {
	origin *originFile
	header []byte
	offset int64
	length int64
}

func (r *originRange) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(r.header)) {
		n = copy(p, r.header[off:])
		p, off = p[n:], int64(len(r.header))
	}
	off -= int64(len(r.header))
	if off >= r.length {
		return n, io.EOF
	}
	if room := r.length - off; int64(len(p)) > room {
		p = p[:room]
	}
	m, err := r.origin.ReadAt(p, r.offset+off)
	return n + m, err
}

func (r *originRange) Close() { r.origin.Close() }
