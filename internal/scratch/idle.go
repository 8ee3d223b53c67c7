// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Temporary files of over so many bytes go so long after their last use.
const (
	temporarySize = 1 << 20
	temporaryLife = 10 * time.Minute
)

// slack is how late the clock may be: what is due within it goes together.
const slack = 50 * time.Millisecond

func path(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// session is what a session's folder has beside its files.
type session struct {
	mu    sync.Mutex
	quota int64 // 0: no limit
	bytes int64
	ttl   time.Duration // 0: for good
	used  time.Time
}

// take counts bytes, of which quota ones must be within the quota.
func (s *session) take(bytes, quota int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quota > 0 && s.bytes+max(bytes, quota) > s.quota {
		return fmt.Errorf("%w: the session has %d of %d bytes, and %d more are wanted (user.modelfs.quota)", ErrNoSpace, s.bytes, s.quota, max(bytes, quota))
	}
	s.bytes += bytes
	s.used = time.Now()
	return nil
}

func (s *session) give(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= bytes
}

// ErrNoSession says that a node is no session's folder.
var ErrNoSession = errors.New("no session")

// Session returns a session's bytes, quota and time to live.
func (n *Node) Session() (bytes, quota int64, ttl time.Duration, err error) {
	s := n.session // set before anybody has the node
	if s == nil {
		return 0, 0, 0, ErrNoSession
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, s.quota, s.ttl, nil
}

// SetSession changes a session's quota or time to live; nil stays. A quota below what
// is there keeps it, and lets nothing grow.
func (n *Node) SetSession(quota *int64, ttl *time.Duration) error {
	s := n.session
	if s == nil {
		return ErrNoSession
	}
	s.mu.Lock()
	if quota != nil {
		s.quota = *quota
	}
	if ttl != nil {
		s.ttl, s.used = *ttl, time.Now()
	}
	now := s.ttl
	s.mu.Unlock()
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	n.area.wakeLocked(now)
	return nil
}

// Touch notes that something of a session was looked at.
func (n *Node) Touch() {
	if s := n.session; s != nil {
		s.mu.Lock()
		s.used = time.Now()
		s.mu.Unlock()
	}
}

// inUse says whether anybody has the content open or mapped.
func (c *content) inUse() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.freed {
		return false
	}
	if c.writers+c.readers > 0 {
		return true
	}
	if !c.area.cfg.Leases {
		return false
	}
	if _, err := unix.FcntlInt(c.file.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		return true
	}
	_, _ = unix.FcntlInt(c.file.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	return false
}

// lost follows the loss of a content's name, under Area.mu; the result is called
// without it.
func (c *content) lost(p string) func() {
	a := c.area
	delete(a.open, c)
	if c.opener != nil {
		return func() { a.cfg.Removed(p) }
	}
	a.gone[c] = struct{}{}
	if !c.sealed {
		close(c.ended)
	}
	return func() { a.settle(c) }
}

// settle frees a content without a name when its last user has gone.
func (a *Area) settle(c *content) {
	a.mu.Lock()
	_, gone := a.gone[c]
	a.mu.Unlock()
	if !gone || c.inUse() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, gone := a.gone[c]; !gone {
		return
	}
	delete(a.gone, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.freed = true
	_ = c.file.Close()
	c.give(c.charge.Load())
}

// Retry looks again at what waited for its last user: events say that one may have
// gone.
func (a *Area) Retry() {
	a.mu.Lock()
	open := a.openLocked()
	gone := make([]*content, 0, len(a.gone))
	for c := range a.gone {
		gone = append(gone, c)
	}
	a.mu.Unlock()
	for _, c := range gone {
		a.settle(c)
	}
	for _, c := range open {
		c.trySeal()
	}
}

// wakeLocked makes the clock come after d at the latest.
func (a *Area) wakeLocked(d time.Duration) {
	if d <= 0 || a.closed {
		return
	}
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.sweep)
		a.due = time.Now().Add(d)
		return
	}
	if at := time.Now().Add(d); at.Before(a.due) {
		a.timer.Reset(d)
		a.due = at
	}
}

// sweep takes away what nobody has used for its time, and comes again.
func (a *Area) sweep() {
	now := time.Now()
	a.mu.Lock()
	a.timer = nil
	var idle []*Node
	next := time.Duration(0)
	consider := func(n *Node, left time.Duration) {
		if left <= slack {
			idle = append(idle, n)
		} else if next == 0 || left < next {
			next = left
		}
	}
	for _, n := range a.root.kids {
		if s := n.session; s != nil {
			s.mu.Lock()
			if s.ttl > 0 {
				consider(n, s.ttl-now.Sub(s.used))
			}
			s.mu.Unlock()
		}
	}
	if a.cfg.Kind != Sessions {
		for c := range a.open {
			if p, ok := c.node.pathLocked(); ok && temporary(p) && c.size.Load() > temporarySize {
				c.mu.Lock()
				consider(c.node, temporaryLife-now.Sub(c.used))
				c.mu.Unlock()
			}
		}
	}
	a.mu.Unlock()
	for _, n := range idle {
		if again := a.expire(n); again > 0 && (next == 0 || again < next) {
			next = again
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wakeLocked(next)
}

// expire takes away a session or a temporary file, unless somebody uses it: then it
// says when to look again.
func (a *Area) expire(n *Node) time.Duration {
	a.mu.Lock()
	files := []*content{n.content}
	if n.folder {
		files = files[:0]
		for _, kid := range n.kids {
			files = append(files, kid.content)
		}
	}
	a.mu.Unlock()
	for _, c := range files {
		if c.inUse() {
			if n.session == nil {
				return temporaryLife
			}
			n.Touch()
			_, _, ttl, _ := n.Session()
			return ttl
		}
	}
	a.mu.Lock()
	p, ok := n.pathLocked()
	if !ok || n.folder && len(n.kids) != len(files) {
		a.mu.Unlock()
		return slack
	}
	var done []func()
	remove := func(n *Node) {
		after, err := n.removeLocked()
		done = append(done, after)
		if err != nil {
			a.cfg.Log.Warn("cannot be removed", "path", p, "error", err)
		}
	}
	if n.folder {
		for _, kid := range n.kids {
			remove(kid)
		}
	}
	remove(n)
	a.mu.Unlock()
	for _, f := range done {
		f()
	}
	a.cfg.Log.Info("nobody used it: removed", "path", p)
	return 0
}
