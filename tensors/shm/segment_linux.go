// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Segment is a complete, immutable file in shared memory. It is safe for
// concurrent use. Its descriptor is its own: it carries the lease and is never
// registered or handed out, else the lease could not tell its users from itself.
type Segment struct {
	store   *Store
	name    string
	file    string
	size    int64
	charged int64

	mu sync.RWMutex
	fd int // -1 once removed
}

// Size is the segment's in bytes.
func (g *Segment) Size() int64 { return g.size }

// Charged is what the memory it takes, in bytes: whole pages.
func (g *Segment) Charged() int64 { return g.charged }

// OpenBacking returns a fresh read-only descriptor, which the caller closes.
func (g *Segment) OpenBacking() (int, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", g.fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open backing of %s: %w", g.name, err)
	}
	return fd, nil
}

// ReadAt reads as io.ReaderAt does.
func (g *Segment) ReadAt(p []byte, off int64) (int, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return readAt(g.fd, p, off)
}

// InUse says whether anybody else has the segment open or mapped. An open that
// races with the question waits while the lease is held, a few microseconds.
// Always false for memfds.
func (g *Segment) InUse() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fd < 0 || g.file == "" {
		return false, nil
	}
	ok, err := g.leaseLocked()
	if ok {
		g.unleaseLocked()
	}
	return !ok, err
}

func (g *Segment) leaseLocked() (bool, error) {
	_, err := unix.FcntlInt(uintptr(g.fd), unix.F_SETLEASE, unix.F_WRLCK)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	}
	return false, fmt.Errorf("lease on %s: %w", g.name, err)
}

func (g *Segment) unleaseLocked() {
	_, _ = unix.FcntlInt(uintptr(g.fd), unix.F_SETLEASE, unix.F_UNLCK)
}

// Remove frees the segment, or answers ErrInUse when somebody has it open or
// mapped. The file is unlinked while the lease is held: an open that races waits
// inside the kernel, and whoever gets it then keeps it whole.
func (g *Segment) Remove() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fd < 0 {
		return nil
	}
	if g.file != "" {
		ok, err := g.leaseLocked()
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s: %w", g.name, ErrInUse)
		}
		err = os.Remove(filepath.Join(g.store.cfg.Dir, g.file))
		g.unleaseLocked()
		if err != nil {
			return fmt.Errorf("remove segment of %s: %w", g.name, err)
		}
	}
	_ = unix.Close(g.fd)
	g.fd = -1
	return nil
}
