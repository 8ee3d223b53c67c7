// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"fmt"
	"os"
	"sync"
)

// Segment is a complete, immutable file in shared memory. It is safe for
// concurrent use. Its descriptor is its own: it carries the lease and is never
// registered or handed out, else the lease could not tell its users from itself.
type Segment struct {
	store   *Store
	name    string
	entry   string       // "" for a memfd, and for an adopted one, whose name is its owner's
	unlink  func() error // of an adopted one
	leased  bool         // the kernel tells who has it open or mapped
	size    int64
	charged int64

	mu   sync.RWMutex // before store.mu; held while the lease is
	file *os.File     // nil once removed
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
	if g.file == nil {
		return -1, fmt.Errorf("open backing of %s: %w", g.name, os.ErrClosed)
	}
	fd, err := openAgain(g.file)
	if err != nil {
		return -1, fmt.Errorf("open backing of %s: %w", g.name, err)
	}
	return fd, nil
}

// ReadAt reads as io.ReaderAt does. It is os.ErrClosed once the segment is
// removed.
func (g *Segment) ReadAt(p []byte, off int64) (int, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.file == nil {
		return 0, fmt.Errorf("read segment of %s: %w", g.name, os.ErrClosed)
	}
	return g.file.ReadAt(p, off)
}

// InUse says whether anybody else has the segment open or mapped. An open that
// races with the question waits while the lease is held, a few microseconds.
// Always false where there are no leases.
func (g *Segment) InUse() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.file == nil || !g.leased {
		return false, nil
	}
	return g.inUseLocked()
}

// Remove frees the segment, or answers ErrInUse when somebody has it open or
// mapped. The file is unlinked while the lease is held: an open that races waits
// inside the kernel, and whoever gets it then keeps it whole.
func (g *Segment) Remove() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.file == nil {
		return nil
	}
	if g.entry != "" || g.unlink != nil {
		if err := g.unlinkLocked(); err != nil {
			return err
		}
	}
	_ = g.file.Close()
	g.file = nil
	return nil
}

// loseName takes the segment's name away.
func (g *Segment) loseName() error {
	if g.unlink != nil {
		return g.unlink()
	}
	return g.store.remove(g.entry)
}
