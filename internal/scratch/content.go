// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// content is the bytes of one file.
type content struct {
	area    *Area
	node    *Node
	account string        // whose room it takes in the budget
	session *session      // whose quota it takes, too
	hidden  string        // its name on disk until it is sealed
	ended   chan struct{} // closed when it is sealed or has lost its name

	size   atomic.Int64 // what stat shows
	charge atomic.Int64 // what is reserved for it

	// Guarded by Area.mu; sealed is written under growing, too.
	sealed bool
	opener Opener // of a sealed one

	name name // of a sealed one, on disk

	growing sync.Mutex
	backed  int64 // the size that the tmpfs knows: at least size

	mu      sync.Mutex
	file    *os.File // read-only: for the lease and for readers
	writers int
	readers int
	used    time.Time
	freed   bool
}

// name is a sealed file's on the tmpfs. Whoever takes it away first, the area or the
// cache that evicts, the bytes are free then; it is nobody else's by that time.
type name struct {
	mu   sync.Mutex
	disk string // "" without one
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

// Create makes a file and opens it for writing.
func (n *Node) Create(name string, mode os.FileMode, who Owner) (*Node, *Handle, error) {
	a := n.area
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := n.placeLocked(name, false); err != nil {
		return nil, nil, err
	}
	return n.createLocked(name, uint32(mode), who)
}

func (n *Node) createLocked(name string, mode uint32, who Owner) (*Node, *Handle, error) {
	a := n.area
	dir, ok := n.diskLocked()
	if !ok {
		return nil, nil, ErrNotExist
	}
	c := &content{area: a, hidden: fmt.Sprintf(".unsealed-%d", a.next+1), ended: make(chan struct{}), used: time.Now()}
	disk := filepath.Join(dir, c.hidden)
	fd, err := unix.Open(disk, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, translate(err)
	}
	writer := os.NewFile(uintptr(fd), disk)
	if err = a.own(disk, mode&0o7777, who); err == nil {
		c.file, err = os.Open(disk)
	}
	if err != nil {
		_ = writer.Close()
		_ = unix.Unlink(disk)
		return nil, nil, err
	}
	kid := n.addLocked(name, false)
	kid.content, c.node = c, kid
	c.account = a.accountLocked(kid)
	c.session = n.session
	c.writers = 1
	a.open[c] = struct{}{}
	return kid, &Handle{content: c, file: writer, writes: true}, nil
}

// accountLocked is whose room a file takes: the model's, session's or object's.
func (a *Area) accountLocked(n *Node) string {
	p, _ := n.pathLocked()
	first := p
	for i := range len(p) {
		if p[i] == '/' {
			first = p[:i]
			break
		}
	}
	switch a.cfg.Kind {
	case Sessions:
		return "sessions/" + first
	case Objects:
		return "objects/" + p
	}
	return first
}

func (c *content) fstat(st *unix.Stat_t) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.freed {
		return ErrNotExist
	}
	err := unix.Fstat(int(c.file.Fd()), st)
	st.Size = c.size.Load()
	return err
}

// OpenWriter opens a file for writing. With trunc it is to be empty: one that has
// bytes is replaced by a new file, and the answer is ErrReplaced.
func (n *Node) OpenWriter(trunc bool) (*Handle, error) {
	a := n.area
	a.mu.Lock()
	p, ok := n.pathLocked()
	c := n.content
	switch {
	case !ok || c == nil:
		a.mu.Unlock()
		return nil, ErrReplaced
	case c.sealed:
		a.mu.Unlock()
		return nil, ErrSealed
	case a.cfg.Kind != Sessions && !temporary(p):
		a.mu.Unlock()
		return nil, ErrWriting
	case trunc && c.size.Load() > 0:
		after, err := n.replaceLocked()
		a.mu.Unlock()
		after()
		if err == nil {
			err = ErrReplaced
		}
		return nil, err
	}
	defer a.mu.Unlock()
	disk, _ := n.diskLocked()
	f, err := os.OpenFile(disk, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, translate(err)
	}
	c.mu.Lock()
	c.writers++
	c.mu.Unlock()
	return &Handle{content: c, file: f, writes: true}, nil
}

// replaceLocked puts a new, empty file of the same owner and mode in a file's place.
func (n *Node) replaceLocked() (after func(), err error) {
	var st unix.Stat_t
	if err := n.content.fstat(&st); err != nil {
		return func() {}, err
	}
	parent, name := n.parent, n.name
	after, err = n.removeLocked()
	if err != nil {
		return after, err
	}
	_, h, err := parent.createLocked(name, st.Mode, Owner{st.Uid, st.Gid})
	if err != nil {
		return after, err
	}
	first := after
	return func() { first(); h.Close() }, nil
}

// Open opens a file for reading. One that is to be sealed is waited for, unless
// nonblock.
func (n *Node) Open(ctx context.Context, nonblock bool) (Content, error) {
	a := n.area
	for {
		a.mu.Lock()
		p, ok := n.pathLocked()
		c := n.content
		if !ok || c == nil {
			a.mu.Unlock()
			return nil, ErrReplaced
		}
		if c.sealed && c.opener != nil {
			open := c.opener
			a.mu.Unlock()
			return open(ctx)
		}
		if c.sealed || a.cfg.Kind == Sessions || temporary(p) {
			r, err := c.reader()
			a.mu.Unlock()
			return r, err
		}
		a.mu.Unlock()
		c.trySeal()
		if nonblock {
			select {
			case <-c.ended:
				continue
			default:
				return nil, ErrNotReady
			}
		}
		select {
		case <-c.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *content) reader() (Content, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.freed {
		return nil, ErrReplaced
	}
	c.readers++
	return &Handle{content: c, file: c.file}, nil
}

// Handle is one open file. It satisfies fs.Content; one that writes fs.Writer.
type Handle struct {
	content *content
	file    *os.File // a writer's own, or the content's
	writes  bool
	once    sync.Once
}

// ReadAt reads what has been written so far.
func (h *Handle) ReadAt(p []byte, off int64) (int, error) {
	left := h.content.size.Load() - off
	if left <= 0 {
		return 0, eof
	}
	short := int64(len(p)) > left
	if short {
		p = p[:left]
	}
	n, err := h.file.ReadAt(p, off)
	if err == nil && short {
		err = eof
	}
	return n, err
}

// OpenBacking returns a fresh read-only descriptor. The kernel opens it anew as the
// client asked.
func (h *Handle) OpenBacking() (int, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", h.file.Fd()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open backing of %s: %w", h.file.Name(), err)
	}
	return fd, nil
}

// Unsettled marks a handle as one of a file that may be larger on the tmpfs than what
// there is of it.
func (h *Handle) Unsettled() {}

// Close gives the handle back; it is idempotent.
func (h *Handle) Close() {
	h.once.Do(func() {
		c := h.content
		c.mu.Lock()
		c.used = time.Now()
		if h.writes {
			_ = h.file.Close()
			c.writers--
		} else {
			c.readers--
		}
		last := h.writes && c.writers == 0
		c.mu.Unlock()
		if last {
			c.trim()
			c.trySeal()
		}
		c.area.settle(c)
	})
}
