// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// phase is how far a content is on its way.
type phase int

const (
	written phase = iota
	sealing       // immutable, and Config.Sealed is being told: who opens it waits
	sealed
)

// content is the bytes of one file.
type content struct {
	area    *Area
	node    *Node
	account string        // whose room it takes in the budget
	session *session      // whose quota it takes, too
	ended   chan struct{} // closed when it is sealed or has lost its name

	size    atomic.Int64 // what stat shows
	charge  atomic.Int64 // what is reserved for it in the budget
	counted atomic.Int64 // what of the session's quota it has

	name name // on disk

	// Guarded by Area.mu.
	phase  phase
	lost   bool        // it has no name any more
	freed  bool        // nor users, nor room
	last   unix.Stat_t // what it was when it lost its name, if a keeper has it
	keeper Keeper      // of a sealed one
	// file is read-only: for the lease, and for readers. It is nil while nobody uses
	// the content: a hundred thousand small files need no descriptors.
	file    *os.File
	writers int
	readers int
	used    time.Time // when it was last seen in use
	// notes are made anew by each change.
	notes map[string]string // what its writer says of it

	growing sync.Mutex
	backed  int64 // the size that the tmpfs knows: at least size
}

// name is a content's on the tmpfs. Whoever takes it away first, the area or the
// cache that evicts, it is nobody else's by that time.
type name struct {
	mu   sync.Mutex
	disk string // "" without one
}

func (n *name) get() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.disk
}

// move makes the name another one. That is nobody's: the area's names are distinct.
func (n *name) move(to string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := unix.Rename(n.disk, to); err != nil {
		return err
	}
	n.disk = to
	return nil
}

func (n *name) unlink() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.disk == "" {
		return nil
	}
	err := unix.Unlink(n.disk)
	n.disk = ""
	return err
}

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// openLocked opens the bytes, by name or without.
func (c *content) openLocked(flags int) (*os.File, error) {
	path := c.name.get()
	if c.lost {
		if c.file == nil {
			return nil, ErrReplaced // nobody has it any more
		}
		path = procPath(c.file)
		flags &^= unix.O_NOFOLLOW
	}
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, translate(err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// useLocked makes the content one that is in use.
func (c *content) useLocked() error {
	if c.file != nil {
		return nil
	}
	f, err := c.openLocked(unix.O_RDONLY | unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	c.file = f
	c.area.busy[c] = struct{}{}
	return nil
}

// restLocked follows the end of a use: what nobody has open or mapped any more needs
// no descriptor, and without a name no room. after is called without the lock.
func (c *content) restLocked() (after func()) {
	if c.writers+c.readers > 0 || c.phase == sealing {
		return func() {}
	}
	f := c.file
	if f != nil {
		// The keeper has a descriptor of its own, and asks its own lease.
		if c.area.cfg.Leases && c.keeper == nil && !lease(f, unix.F_WRLCK) {
			return func() {}
		}
		c.file = nil
		delete(c.area.busy, c)
		c.used = time.Now()
		c.session.touch()
		c.area.temporaryLocked(c)
	}
	free := c.lost && !c.freed
	c.freed = c.lost
	return func() {
		if f != nil {
			_ = f.Close()
		}
		if free {
			c.give(c.charge.Load())
			c.session.give(c.counted.Swap(0))
		}
	}
}

// lease says whether the kernel grants a lease: for writing while nobody else has the
// file open or mapped, for reading while nobody can write it.
func lease(f *os.File, kind int) bool {
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, kind); err != nil {
		return false
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	return true
}

// settle does what is to be done when a use may have ended: it seals, it frees.
func (c *content) settle() {
	c.trySeal()
	c.area.mu.Lock()
	after := c.restLocked()
	c.area.mu.Unlock()
	after()
}

// loseLocked follows the loss of the name p. What is not sealed keeps its name on disk
// until after: that is nobody else's.
func (c *content) loseLocked(p string) (after func()) {
	a := c.area
	if c.keeper != nil {
		_ = unix.Lstat(c.name.get(), &c.last)
	}
	c.lost = true
	delete(a.open, c)
	sealed := c.phase == sealed // else the one who seals it tells
	switch c.phase {
	case written:
		close(c.ended)
	default:
		_ = c.name.unlink()
	}
	return func() {
		_ = c.name.unlink()
		if sealed {
			a.removed(p, c.keeper)
		}
		c.settle()
	}
}

func (c *content) fstatLocked(st *unix.Stat_t) error {
	if c.file == nil {
		return ErrReplaced
	}
	if err := unix.Fstat(int(c.file.Fd()), st); err != nil {
		return err
	}
	c.showLocked(st)
	return nil
}

// showLocked puts what there is in place of what the tmpfs knows.
func (c *content) showLocked(st *unix.Stat_t) {
	if c.phase == written {
		st.Size = c.size.Load()
		st.Blocks = (c.charge.Load() + 511) / 512
	}
}
