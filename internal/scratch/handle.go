// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Handle is one open file. It satisfies fs.Content; one that writes fs.Writer.
type Handle struct {
	content *content
	file    *os.File // a writer's own, or the content's
	writes  bool
	once    sync.Once
}

// Create makes a file and opens it for writing.
func (n *Node) Create(name string, mode os.FileMode, who Owner) (*Node, *Handle, error) {
	a := n.area
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := n.placeLocked(name, false); err != nil {
		return nil, nil, err
	}
	return n.createLocked(name, uint32(mode), n.heirLocked(who))
}

func (n *Node) createLocked(name string, mode uint32, who Owner) (*Node, *Handle, error) {
	a := n.area
	c := &content{area: a, ended: make(chan struct{}), used: time.Now()}
	c.name.disk = filepath.Join(a.pending, fmt.Sprint(a.next+1))
	w, err := c.openLocked(unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW)
	if err != nil {
		return nil, nil, err
	}
	kid := n.newLocked(name, false)
	kid.mode = fileMode(mode)
	err = a.own(c.name.disk, kid, who)
	if err == nil {
		err = c.useLocked()
	}
	if err != nil {
		_ = w.Close()
		_ = c.name.unlink()
		return nil, nil, err
	}
	n.addLocked(kid)
	kid.content, c.node = c, kid
	c.account = a.accountLocked(kid)
	c.session = n.sessionLocked()
	c.writers = 1
	a.open[c] = struct{}{}
	return kid, &Handle{content: c, file: w, writes: true}, nil
}

// Object names the room of an object, by its path below the area. No model has such a
// name.
func Object(path string) string { return "/objects/" + path }

// accountLocked is whose room a file takes: the model's, session's or object's.
func (a *Area) accountLocked(n *Node) string {
	p, _ := n.pathLocked()
	first, _, _ := strings.Cut(p, "/")
	switch a.cfg.Kind {
	case Sessions:
		return "/sessions/" + first
	case Objects:
		return Object(p)
	}
	return first
}

// writerLocked opens a content for writing.
func (c *content) writerLocked() (*Handle, error) {
	f, err := c.openLocked(unix.O_RDWR | unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	if err := c.useLocked(); err != nil {
		_ = f.Close()
		return nil, err
	}
	c.writers++
	return &Handle{content: c, file: f, writes: true}, nil
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
	case c.phase != written:
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
	return c.writerLocked()
}

// replaceLocked puts a new, empty file of the same owner and mode in a file's place.
func (n *Node) replaceLocked() (after func(), err error) {
	var st unix.Stat_t
	if err := unix.Lstat(n.content.name.get(), &st); err != nil {
		return func() {}, translate(err)
	}
	parent, name := n.parent, n.name
	after, err = n.removeLocked()
	if err != nil {
		return after, err
	}
	_, h, err := parent.createLocked(name, n.mode, Owner{st.Uid, st.Gid})
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
		switch {
		case !ok || c == nil:
			a.mu.Unlock()
			return nil, ErrReplaced
		case c.phase == sealed && c.keeper != nil:
			a.mu.Unlock()
			return c.keeper.Open(ctx)
		case c.phase == sealed, c.phase == written && (a.cfg.Kind == Sessions || temporary(p)):
			r, err := c.readerLocked()
			a.mu.Unlock()
			return r, err
		}
		a.mu.Unlock()
		c.settle()
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

func (c *content) readerLocked() (Content, error) {
	if err := c.useLocked(); err != nil {
		return nil, err
	}
	c.readers++
	return &Handle{content: c, file: c.file}, nil
}

// ReadAt reads what has been written so far.
func (h *Handle) ReadAt(p []byte, off int64) (int, error) {
	left := h.content.size.Load() - off
	if left <= 0 {
		return 0, io.EOF
	}
	short := int64(len(p)) > left
	if short {
		p = p[:left]
	}
	n, err := h.file.ReadAt(p, off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// OpenBacking returns a fresh read-only descriptor. The kernel opens it anew as the
// client asked.
func (h *Handle) OpenBacking() (int, error) {
	fd, err := unix.Open(procPath(h.file), unix.O_RDONLY|unix.O_CLOEXEC, 0)
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
		if h.writes {
			h.endWriting()
		} else {
			c.area.mu.Lock()
			c.readers--
			c.area.mu.Unlock()
		}
		c.settle()
	})
}

// endWriting gives a writer back; the last one trims what was taken ahead. Who grows
// the file or ends meanwhile waits: nobody else sees it larger than it is.
func (h *Handle) endWriting() {
	c, a := h.content, h.content.area
	c.growing.Lock()
	defer c.growing.Unlock()
	a.mu.Lock()
	last := c.writers == 1
	a.mu.Unlock()
	if last {
		c.trimLocked(h.file)
	}
	_ = h.file.Close()
	a.mu.Lock()
	c.writers--
	a.mu.Unlock()
}
