// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

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
	f, ok := c.sealLocked()
	a.mu.Unlock()
	if !ok {
		return
	}
	keeper, err := a.cfg.Sealed(f)
	if err != nil {
		keeper = nil
		a.cfg.Log.Warn("a sealed file stays outside of the cache", "path", f.Path, "error", err)
	}
	a.mu.Lock()
	c.phase, c.keeper = sealed, keeper
	if keeper != nil { // its room is the keeper's by now
		a.charged.Add(-c.charge.Swap(0))
	}
	lost := c.lost
	close(c.ended)
	a.mu.Unlock()
	if lost {
		a.removed(f.Path, keeper)
	}
}

// sealLocked gives the file its final name on disk, if its time has come. Where nobody
// uses it there is no descriptor, and nobody to ask about.
func (c *content) sealLocked() (f File, ok bool) {
	a := c.area
	p, named := c.node.pathLocked()
	if !named || c.phase != written || c.writers > 0 || temporary(p) {
		return f, false
	}
	if a.cfg.Leases && c.file != nil && !lease(c.file, unix.F_RDLCK) {
		return f, false
	}
	to := filepath.Join(a.cfg.Dir, p)
	if err := c.name.move(to); err != nil {
		a.cfg.Log.Warn("cannot be sealed", "path", p, "error", err)
		return f, false
	}
	if err := unix.Chmod(to, a.onDisk(c.node)); err != nil {
		a.cfg.Log.Warn("mode of a sealed file", "path", p, "error", err)
	}
	c.phase = sealing
	delete(a.open, c)
	return File{Path: p, Disk: to, Charged: c.charge.Load(), Account: c.account, Unlink: c.name.unlink}, true
}

func (a *Area) removed(p string, keeper Keeper) {
	if keeper != nil {
		keeper.Lost()
	}
	a.cfg.Removed(p)
}

// Top is the topmost folder on the way to a path that itself holds a sealed file of
// which marks is true, at most depth folders below the root; "" if there is none.
func (a *Area) Top(p string, depth int, marks func(name string) bool) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.root
	for end := 0; depth > 0; depth-- {
		next := strings.IndexByte(p[end:], '/')
		if next < 0 {
			return ""
		}
		if at = at.kids[p[end:end+next]]; at == nil {
			return ""
		}
		end += next
		for _, kid := range at.kids {
			if c := kid.content; c != nil && c.phase != written && marks(kid.name) {
				return p[:end]
			}
		}
		end++
	}
	return ""
}
