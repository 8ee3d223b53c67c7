// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"cmp"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// bySize sorts contents, the smallest first: a model's config.json, which says how
// far the model goes, before its weights.
func bySize(list []*content) []*content {
	slices.SortFunc(list, func(x, y *content) int { return cmp.Compare(x.size.Load(), y.size.Load()) })
	return list
}

// trySeal seals a content that bears its final name and that nobody can write any
// more, and tells who it belongs to from then on.
func (c *content) trySeal() {
	a := c.area
	if a.cfg.Kind == Sessions {
		return
	}
	a.mu.Lock()
	p, disk, ok := c.sealLocked()
	a.mu.Unlock()
	if !ok {
		return
	}
	opener, err := a.cfg.Sealed(p, disk, c.charge.Load(), c.account, c.name.unlink)
	if err != nil {
		a.cfg.Log.Warn("a sealed file stays outside of the cache", "path", p, "error", err)
	}
	a.mu.Lock()
	c.phase = sealed
	if opener != nil && err == nil { // its room is the cache's by now
		c.opener = opener
		a.charged.Add(-c.charge.Swap(0))
	}
	lost := c.lost
	close(c.ended)
	a.mu.Unlock()
	if lost {
		a.removed(p)
	}
}

// sealLocked gives the file its final name on disk, if its time has come. Where nobody
// uses it there is no descriptor, and nobody to ask about.
func (c *content) sealLocked() (p, disk string, ok bool) {
	a := c.area
	p, named := c.node.pathLocked()
	if !named || c.phase != written || c.writers > 0 || temporary(p) {
		return "", "", false
	}
	if a.cfg.Leases && c.file != nil && !lease(c.file, unix.F_RDLCK) {
		return "", "", false
	}
	to := filepath.Join(a.cfg.Dir, p)
	if err := c.name.move(to); err != nil {
		a.cfg.Log.Warn("cannot be sealed", "path", p, "error", err)
		return "", "", false
	}
	if err := unix.Chmod(to, a.onDisk(c.node)); err != nil {
		a.cfg.Log.Warn("mode of a sealed file", "path", p, "error", err)
	}
	c.phase = sealing
	delete(a.open, c)
	return p, to, true
}

func (a *Area) removed(p string) {
	if a.cfg.Removed != nil {
		a.cfg.Removed(p)
	}
}
