// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"time"
)

// Temporary files of over so many bytes go so long after their last use.
const (
	temporarySize = 1 << 20
	temporaryLife = 10 * time.Minute
)

// slack is how late the clock may be: what is due within it goes together.
const slack = 50 * time.Millisecond

// Retry looks again at what may be in use without a handle: events say that somebody
// has let go of something.
func (a *Area) Retry() {
	a.mu.Lock()
	var look []*content
	for c := range a.busy {
		if c.writers == 0 && (c.readers == 0 || c.phase == written) {
			look = append(look, c)
		}
	}
	a.mu.Unlock()
	for _, c := range bySize(look) {
		c.settle()
	}
}

// temporaryLocked lets the clock come for a temporary file.
func (a *Area) temporaryLocked(c *content) {
	if a.cfg.Kind == Sessions || c.lost || c.phase != written || c.size.Load() <= temporarySize {
		return
	}
	if p, ok := c.node.pathLocked(); ok && temporary(p) {
		a.wakeLocked(temporaryLife)
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

// sweep takes away what nobody has used for its time, and comes again. Nobody opens
// anything between the look and the end: the names are locked.
func (a *Area) sweep() {
	var after []func()
	a.mu.Lock()
	a.timer = nil
	now := time.Now()
	consider := func(n *Node, left time.Duration) {
		if left <= slack {
			left = n.lifeLocked(now, &after)
		}
		if left <= slack {
			n.expireLocked(&after)
			return
		}
		a.wakeLocked(left)
	}
	for _, n := range a.root.kids {
		if s := n.session; s != nil && n.folder {
			if left, ends := s.left(now); ends {
				consider(n, left)
			}
		}
	}
	if a.cfg.Kind != Sessions {
		for c := range a.open {
			if p, ok := c.node.pathLocked(); ok && temporary(p) && c.size.Load() > temporarySize {
				consider(c.node, temporaryLife-now.Sub(c.used))
			}
		}
	}
	a.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// lifeLocked is how long a session or a temporary file has, after a look at who uses
// it.
func (n *Node) lifeLocked(now time.Time, after *[]func()) time.Duration {
	inUse := func(c *content) bool {
		*after = append(*after, c.restLocked())
		return c.file != nil
	}
	if n.content != nil {
		if inUse(n.content) {
			return temporaryLife
		}
		return temporaryLife - now.Sub(n.content.used)
	}
	used := false
	below, _ := n.belowLocked()
	for _, c := range below {
		used = inUse(c) || used
	}
	if used {
		n.session.touch()
	}
	left, _ := n.session.left(time.Now())
	if used {
		left = max(left, slack+1)
	}
	return left
}

// expireLocked takes away a session or a temporary file.
func (n *Node) expireLocked(after *[]func()) {
	p, _ := n.pathLocked()
	if err := n.clearLocked(after); err != nil {
		n.area.cfg.Log.Warn("cannot be removed", "path", p, "error", err)
		return
	}
	n.area.goneLocked(p, after)
	n.area.cfg.Log.Info("nobody used it: removed", "path", p)
}
