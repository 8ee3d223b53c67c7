// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package arena

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelfs/modelfs/tensors/shm"
	"github.com/modelfs/modelfs/workers/handler"
)

// ErrNoRoom says that the arena's Limit leaves no room for a region. The text has the
// numbers.
var ErrNoRoom = errors.New("no room in the arena")

// idleFor is how long a file stays after its last region was freed.
const idleFor = 30 * time.Second

// Maker makes a file of size bytes, all zero, that nobody shrinks.
type Maker func(size int64) (*os.File, error)

// Arena hands out regions of files. Its methods can be called at the same time.
type Arena struct {
	// Gone is told the key of each file before it is unmapped and closed, without
	// locks. Set it before the first Take.
	Gone func(key uint64)
	// Limit is the most bytes that all files together may have; 0: none. Set it before
	// the first Take.
	Limit int64

	make  Maker
	chunk int64

	growing chan struct{} // holds whoever makes a file: a hundred callers who find no room make one between them

	mu sync.Mutex
	// guarded by mu:
	files  []*file // the oldest first
	bytes  int64   // of all files
	timer  *time.Timer
	armed  bool
	closed bool
}

// Region is memory of an arena. Its bytes are what whoever had it before left.
type Region struct {
	handler.Place

	arena *Arena
	file  *file
	span  span // with what was rounded up
	freed atomic.Bool
}

// Stats is what an arena has.
type Stats struct {
	Files   int
	Bytes   int64 // of the files
	Taken   int64 // of those, in regions
	Regions int
}

// New makes an arena whose files have chunk bytes, or as many as a region that is
// larger. No file is made before the first Take.
func New(maker Maker, chunk int64) *Arena {
	return &Arena{make: maker, chunk: roundUp(max(chunk, 1), pageSize), growing: make(chan struct{}, 1)}
}

// Take returns a region of so many bytes, 0 included.
func (a *Arena) Take(bytes int64) (*Region, error) {
	if bytes < 0 || bytes > mostBytes {
		return nil, fmt.Errorf("take %d bytes: %w", bytes, ErrNoRoom)
	}
	a.mu.Lock()
	r, err := a.takeLocked(bytes)
	a.mu.Unlock()
	if r == nil && err == nil {
		return a.grow(bytes)
	}
	return r, err
}

// takeLocked returns nil when no file has room.
func (a *Arena) takeLocked(bytes int64) (*Region, error) {
	if a.closed {
		return nil, fmt.Errorf("take %d bytes of the arena: %w", bytes, os.ErrClosed)
	}
	for _, f := range a.files {
		if f.retired {
			continue
		}
		if s, ok := f.take(bytes); ok {
			return &Region{Place: handler.Place{File: &f.File, Offset: s.from, Bytes: bytes}, arena: a, file: f, span: s}, nil
		}
	}
	return nil, nil
}

// grow makes one more file and takes the region there, unless somebody else has made
// room meanwhile.
func (a *Arena) grow(bytes int64) (*Region, error) {
	a.growing <- struct{}{}
	defer func() { <-a.growing }()
	need := max(roundUp(bytes, alignment(bytes)), roundUp(bytes, pageSize))
	size := max(a.chunk, need)
	a.mu.Lock()
	r, err := a.takeLocked(bytes)
	have := a.bytes
	a.mu.Unlock()
	if r != nil || err != nil {
		return r, err
	}
	if a.Limit > 0 {
		size = max(need, min(size, (a.Limit-have)&^(pageSize-1))) // the last file is as large as may be
		if size > a.Limit-have || size == 0 {
			return nil, fmt.Errorf("take %d bytes: no file for it beside the %d bytes there are, of %d at the most: %w", bytes, have, a.Limit, ErrNoRoom)
		}
	}
	f, err := newFile(a.make, size)
	if err != nil {
		return nil, fmt.Errorf("take %d bytes: %w", bytes, err)
	}
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		f.close()
		return nil, fmt.Errorf("take %d bytes of the arena: %w", bytes, os.ErrClosed)
	}
	defer a.mu.Unlock()
	a.files = append(a.files, f)
	a.bytes += size
	return a.takeLocked(bytes)
}

// Free gives the region back; nobody may touch it any more. It can be called again,
// and of nil.
func (r *Region) Free() {
	if r == nil || r.freed.Swap(true) {
		return
	}
	a := r.arena
	a.mu.Lock()
	r.file.give(r.span)
	var gone *file
	if r.file.taken == 0 {
		if r.file.retired {
			gone = r.file
			a.removeLocked(gone)
		} else if !a.staysLocked(r.file) {
			r.file.idle = time.Now()
			a.armLocked(idleFor)
		}
	}
	a.mu.Unlock()
	if gone != nil {
		a.end(gone)
	}
}

// staysLocked says whether a file is the one that is kept: the oldest, unless it was
// made for a large region.
func (a *Arena) staysLocked(f *file) bool { return f == a.files[0] && f.Size <= a.chunk }

// armLocked has sweep called, if it is not going to be already.
func (a *Arena) armLocked(after time.Duration) {
	if a.armed {
		return
	}
	a.armed = true
	if a.timer == nil {
		a.timer = time.AfterFunc(after, a.sweep)
		return
	}
	a.timer.Reset(after)
}

// sweep removes the files that have been all free for long enough, and comes again for
// those that have not yet.
func (a *Arena) sweep() {
	var gone []*file
	a.mu.Lock()
	a.armed = false
	if !a.closed {
		now, next := time.Now(), time.Duration(-1)
		for _, f := range slices.Clone(a.files) {
			if f.taken > 0 || a.staysLocked(f) {
				continue
			}
			if left := idleFor - now.Sub(f.idle); left <= 0 {
				a.removeLocked(f)
				gone = append(gone, f)
			} else if next < 0 || left < next {
				next = left
			}
		}
		if next >= 0 {
			a.armLocked(next)
		}
	}
	a.mu.Unlock()
	for _, f := range gone {
		a.end(f)
	}
}

func (a *Arena) removeLocked(f *file) {
	i := slices.Index(a.files, f)
	a.files = slices.Delete(a.files, i, i+1)
	a.bytes -= f.Size
}

// end is the last of a file that nobody finds any more.
func (a *Arena) end(f *file) {
	if a.Gone != nil {
		a.Gone(f.Key)
	}
	f.close()
}

// Retire gives the files that there are back: at once those that are free, the others with
// the last of their regions. What is taken from now on lies in others: where the files came
// from, nobody can map them any more.
func (a *Arena) Retire() {
	a.mu.Lock()
	gone := a.retireLocked()
	a.mu.Unlock()
	for _, f := range gone {
		a.end(f)
	}
}

// retireLocked returns the files that are free, for end.
func (a *Arena) retireLocked() (gone []*file) {
	for _, f := range slices.Clone(a.files) {
		f.retired = true
		if f.taken == 0 {
			a.removeLocked(f)
			gone = append(gone, f)
		}
	}
	return gone
}

// Close is Retire, and nothing can be taken any more.
func (a *Arena) Close() {
	a.mu.Lock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
	gone := a.retireLocked()
	a.mu.Unlock()
	for _, f := range gone {
		a.end(f)
	}
}

// Stats counts.
func (a *Arena) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Stats{Files: len(a.files), Bytes: a.bytes}
	for _, f := range a.files {
		s.Taken += f.taken
		s.Regions += f.regions
	}
	return s
}

// newFile makes and maps one.
func newFile(maker Maker, size int64) (*file, error) {
	f, err := maker(size)
	if err != nil {
		return nil, err
	}
	mapping, err := shm.MapShared(f, size, true)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{
		File:    handler.File{Key: handler.NextKey(), FD: f, Size: size, Writable: true, Data: mapping.Bytes()},
		mapping: mapping,
		free:    []span{{0, size}},
		largest: size,
	}, nil
}

func (f *file) close() {
	f.mapping.Close()
	f.FD.Close()
}
