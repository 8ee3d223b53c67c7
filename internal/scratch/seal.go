// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// openLocked are the contents that are not sealed, the smallest first: a model's
// config.json, which says how far the model goes, before its weights.
func (a *Area) openLocked() []*content {
	out := make([]*content, 0, len(a.open))
	for c := range a.open {
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y *content) int { return cmp.Compare(x.size.Load(), y.size.Load()) })
	return out
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
	size, account := c.charge.Load(), c.account
	var opener Opener
	if a.cfg.Sealed != nil {
		var err error
		if opener, err = a.cfg.Sealed(p, disk, size, account, c.name.unlink); err != nil {
			a.cfg.Log.Warn("a sealed file stays outside of the cache", "path", p, "error", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if opener != nil { // its room is the cache's by now
		c.opener = opener
		a.charged.Add(-c.charge.Swap(0))
		c.mu.Lock()
		_ = c.file.Close()
		c.freed = true
		c.mu.Unlock()
	}
	close(c.ended)
}

// sealLocked takes the file its hidden name, if its time has come.
func (c *content) sealLocked() (p, disk string, ok bool) {
	p, named := c.node.pathLocked()
	if !named || c.sealed || temporary(p) {
		return "", "", false
	}
	if !c.growing.TryLock() { // who grows it tries again afterwards
		return "", "", false
	}
	defer c.growing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writers > 0 || c.freed || !c.nobodyWrites() {
		return "", "", false
	}
	c.trimLocked()
	from, _ := c.node.diskLocked()
	to := filepath.Join(c.area.cfg.Dir, p)
	if err := os.Rename(from, to); err != nil {
		return "", "", false
	}
	c.sealed = true
	c.name.disk = to
	delete(c.area.open, c)
	return p, to, true
}

// nobodyWrites asks the kernel, on a fresh descriptor: a read lease is refused while
// any descriptor or mapping for writing lives.
func (c *content) nobodyWrites() bool {
	if !c.area.cfg.Leases {
		return true // the count of writers is exact
	}
	fd, err := unix.Open(path(c.file), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return false
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	return true
}
