// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lease takes the lease that is granted only while nobody else has the file open
// or mapped, and says whether it was. Whoever opens the file then waits inside
// the kernel for unlease.
func lease(f *os.File) (bool, error) {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	return err == nil, err
}

func unlease(f *os.File) {
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
}

func (g *Segment) inUseLocked() (bool, error) {
	ok, err := lease(g.file)
	if err != nil {
		return false, fmt.Errorf("lease on %s: %w", g.name, err)
	}
	if ok {
		unlease(g.file)
	}
	return !ok, nil
}

// unlinkLocked takes the name away, under the lease.
func (g *Segment) unlinkLocked() error {
	if !g.leased {
		return g.loseName()
	}
	ok, err := lease(g.file)
	if err != nil {
		return fmt.Errorf("lease on %s: %w", g.name, err)
	}
	if !ok {
		return fmt.Errorf("%s: %w", g.name, ErrInUse)
	}
	defer unlease(g.file)
	if err := g.loseName(); err != nil {
		return fmt.Errorf("remove segment of %s: %w", g.name, err)
	}
	return nil
}

// testLease sees once that a lease is refused while a file is open elsewhere and
// granted when it is not: eviction rests on it.
func (s *Store) testLease() error {
	b, err := s.Create("lease test", pageSize)
	if err != nil {
		return err
	}
	g, err := b.Seal()
	if err != nil {
		return err
	}
	defer g.forget()
	fd, err := g.OpenBacking()
	if err != nil {
		return err
	}
	used, err := g.InUse()
	_ = unix.Close(fd)
	switch {
	case err != nil:
		return fmt.Errorf("file leases do not work (fs.leases-enable?): %w", err)
	case !used:
		return errors.New("file leases do not work: one was granted on a file that is open")
	}
	// A process that is being started right now has copies of all descriptors,
	// until its exec: look again.
	for range 200 {
		if err = g.Remove(); !errors.Is(err, ErrInUse) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("file leases do not work: none was granted on a file that is closed: %w", err)
	}
	return nil
}

// forget closes the segment's descriptor whoever uses it.
func (g *Segment) forget() {
	if g.file != nil {
		g.closeLocked()
	}
}
