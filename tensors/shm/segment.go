// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// Segment is a complete, immutable file in shared memory. It is safe for
// concurrent use. Its descriptor is its own: it carries the lease and is never
// registered or handed out, else the lease could not tell its users from itself.
//
// One that lies on the store's tmpfs, under a name that nobody else takes away, has a
// descriptor only while somebody reads or uses it: a hundred thousand tensors need
// none. What has no such name, a memfd or an adopted file, keeps its own.
type Segment struct {
	store   *Store
	name    string
	entry   string       // "" for a memfd, and for an adopted one, whose name is its owner's
	unlink  func() error // of an adopted one
	leased  bool         // the kernel tells who has it open or mapped
	size    int64
	charged int64

	mu      sync.RWMutex // before store.mu; held while the lease is
	file    *os.File     // nil at rest, and once removed
	removed bool
}

// Size is the segment's in bytes.
func (g *Segment) Size() int64 { return g.size }

// Charged is the memory that it takes, in bytes: whole pages.
func (g *Segment) Charged() int64 { return g.charged }

// OpenBacking returns a fresh read-only descriptor, which the caller closes. It
// is os.ErrClosed once the segment is removed.
func (g *Segment) OpenBacking() (int, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var fd int
	var err error
	switch {
	case g.removed:
		err = os.ErrClosed
	case g.file != nil:
		fd, err = openAgain(g.file)
	default:
		fd, err = g.store.openEntry(g.entry)
	}
	if err != nil {
		return -1, fmt.Errorf("open backing of %s: %w", g.name, err)
	}
	return fd, nil
}

// ReadAt reads as io.ReaderAt does. It is os.ErrClosed once the segment is
// removed. The descriptor stays until Rest.
func (g *Segment) ReadAt(p []byte, off int64) (int, error) {
	g.mu.RLock()
	if g.file != nil {
		defer g.mu.RUnlock()
		return g.file.ReadAt(p, off)
	}
	g.mu.RUnlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.openLocked(); err != nil {
		return 0, fmt.Errorf("read segment of %s: %w", g.name, err)
	}
	return g.file.ReadAt(p, off)
}

// InUse says whether anybody else has the segment open or mapped. An open that
// races with the question waits while the lease is held, a few microseconds.
// Always false where there are no leases. One in use keeps its descriptor: to close
// it would be an event of the store, which is answered by this question.
func (g *Segment) InUse() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.removed || !g.leased {
		return false, nil
	}
	if err := g.openLocked(); err != nil {
		return false, fmt.Errorf("look at segment of %s: %w", g.name, err)
	}
	used, err := g.inUseLocked()
	if err == nil && !used && g.rests() {
		_ = g.file.Close()
		g.file = nil
	}
	return used, err
}

// Rest gives back the descriptor of a segment that nobody else uses. Whoever has read
// it calls it at the end.
func (g *Segment) Rest() {
	g.mu.RLock()
	open := g.file != nil
	g.mu.RUnlock()
	if open && g.rests() {
		_, _ = g.InUse()
	}
}

// rests says whether the segment can be opened again, so that it needs no descriptor.
func (g *Segment) rests() bool { return g.leased && g.entry != "" }

// openLocked makes sure that there is a descriptor.
func (g *Segment) openLocked() error {
	if g.removed {
		return os.ErrClosed
	}
	if g.file != nil {
		return nil
	}
	fd, err := g.store.openEntry(g.entry)
	if err == nil {
		g.file = os.NewFile(uintptr(fd), g.entry)
	}
	return err
}

// Remove frees the segment, or answers ErrInUse when somebody has it open or
// mapped. The file is unlinked while the lease is held: an open that races waits
// inside the kernel, and whoever gets it then keeps it whole.
func (g *Segment) Remove() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.removed {
		return nil
	}
	switch err := g.openLocked(); {
	case errors.Is(err, os.ErrClosed), errors.Is(err, os.ErrNotExist):
		g.removed = true // its name went with the store: whoever uses it has it alone
		return nil
	case err != nil:
		return fmt.Errorf("remove segment of %s: %w", g.name, err)
	}
	if g.entry != "" || g.unlink != nil {
		if err := g.unlinkLocked(); err != nil {
			return err
		}
	}
	g.closeLocked()
	return nil
}

// closeLocked ends the segment.
func (g *Segment) closeLocked() {
	_ = g.file.Close()
	g.file, g.removed = nil, true
	if g.entry == "" {
		g.store.keeping.Add(-1)
	}
}

// loseName takes the segment's name away.
func (g *Segment) loseName() error {
	if g.unlink != nil {
		return g.unlink()
	}
	return g.store.remove(g.entry)
}
