// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The longest name, and the longest path below the area: what is above it on the
// tmpfs must fit into the kernel's 4096 bytes, too.
const (
	longestName = 255
	longestPath = 3000
)

// newLocked makes a node, without a place.
func (n *Node) newLocked(name string, folder bool) *Node {
	n.area.next++
	kid := &Node{area: n.area, id: n.area.next, folder: folder, name: name}
	if folder {
		kid.kids = make(map[string]*Node)
	}
	return kid
}

// addLocked puts a new node under its name.
func (n *Node) addLocked(kid *Node) {
	kid.parent = n
	n.kids[kid.name] = kid
	n.touchLocked()
}

// placeLocked says whether something may be made in a folder: files lie in a model,
// a session or a user's folder, never beside them.
func (n *Node) placeLocked(name string, folder bool) error {
	p, ok := n.pathLocked()
	if !ok {
		return ErrNotExist
	}
	switch {
	case n.kids[name] != nil:
		return fmt.Errorf("%s: %w", name, ErrExist)
	case len(name) > longestName || len(p)+len(name) >= longestPath:
		return ErrName
	case n == n.area.root && (!folder || n.area.cfg.Kind == Objects):
		return fmt.Errorf("%s: %w", name, ErrPlace)
	}
	return nil
}

// heirLocked is who owns what somebody makes in a folder: one with the setgid bit
// gives its group.
func (n *Node) heirLocked(who Owner) Owner {
	var st unix.Stat_t
	if disk, ok := n.diskLocked(); ok && n.mode&unix.S_ISGID != 0 && unix.Lstat(disk, &st) == nil {
		who.Gid = st.Gid
	}
	return who
}

// Mkdir makes a folder.
func (n *Node) Mkdir(name string, mode os.FileMode, who Owner) (*Node, error) {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	if err := n.placeLocked(name, true); err != nil {
		return nil, err
	}
	return n.mkdirLocked(name, uint32(mode)&0o7777|n.mode&unix.S_ISGID, n.heirLocked(who))
}

func (n *Node) mkdirLocked(name string, mode uint32, who Owner) (*Node, error) {
	a := n.area
	disk, ok := n.diskLocked()
	if !ok {
		return nil, ErrNotExist
	}
	disk = filepath.Join(disk, name)
	if err := unix.Mkdir(disk, 0o700); err != nil {
		return nil, translate(err)
	}
	kid := n.newLocked(name, true)
	kid.mode = mode
	err := a.own(disk, kid, who)
	if err == nil && a.cfg.Kind != Sessions { // whose files lie elsewhere
		err = a.watch(disk)
	}
	if err != nil {
		_ = unix.Rmdir(disk)
		return nil, translate(err)
	}
	n.addLocked(kid)
	if a.cfg.Kind == Sessions && n == a.root {
		kid.session = &session{quota: a.cfg.Quota, ttl: a.cfg.TTL, used: time.Now()}
		a.wakeLocked(kid.session.ttl)
	}
	return kid, nil
}

// own gives what was just made to its maker.
func (a *Area) own(disk string, n *Node, who Owner) error {
	if a.cfg.GiveAway {
		if err := unix.Lchown(disk, int(who.Uid), int(who.Gid)); err != nil {
			return err
		}
	} else if int(who.Uid) != os.Geteuid() {
		return fmt.Errorf("an unprivileged daemon keeps no files of others: %w", os.ErrPermission)
	}
	return unix.Chmod(disk, a.onDisk(n))
}

// Home is the folder of a user in objects/, 0700; it is made when somebody looks.
func (a *Area) Home(who Owner) (*Node, error) {
	name := fmt.Sprint(who.Uid)
	a.mu.Lock()
	defer a.mu.Unlock()
	if kid := a.root.kids[name]; kid != nil {
		return kid, nil
	}
	return a.root.mkdirLocked(name, 0o700, who)
}

// Remove takes a name away. The bytes of a file stay with those who have them.
func (n *Node) Remove(name string, folder bool) error {
	a := n.area
	a.mu.Lock()
	kid, ok := n.kids[name]
	if !ok || kid.folder != folder {
		a.mu.Unlock()
		return ErrNotExist
	}
	if folder && len(kid.kids) > 0 {
		a.mu.Unlock()
		return ErrNotEmpty
	}
	after, err := kid.removeLocked()
	a.mu.Unlock()
	after()
	return err
}

// removeLocked takes the node's name away, on disk too. after is to be called
// without the lock.
func (n *Node) removeLocked() (after func(), err error) {
	p, ok := n.pathLocked()
	if !ok {
		return func() {}, ErrNotExist
	}
	if n.folder {
		err := unix.Rmdir(filepath.Join(n.area.cfg.Dir, p))
		if err != nil && err != unix.ENOENT {
			return func() {}, translate(err)
		}
	}
	parent := n.parent
	delete(parent.kids, n.name)
	n.parent = nil
	if n.folder {
		return func() {}, nil
	}
	parent.touchLocked()
	return n.content.loseLocked(p), nil
}

// clearLocked takes a node away and all that is below it.
func (n *Node) clearLocked(after *[]func()) error {
	var errs []error
	for _, kid := range n.kids {
		errs = append(errs, kid.clearLocked(after))
	}
	f, err := n.removeLocked()
	*after = append(*after, f)
	return errors.Join(append(errs, err)...)
}

// Rename moves a name, over a file or an empty folder unless exclusive. What holds
// sealed files stays where it is: they are known by their place.
func (n *Node) Rename(name string, to *Node, newName string, exclusive bool) error {
	a := n.area
	if to.area != a {
		return ErrElsewhere
	}
	a.mu.Lock()
	moved, after, err := n.renameLocked(name, to, newName, exclusive)
	a.mu.Unlock()
	after()
	for _, c := range bySize(moved) { // under their final name now, perhaps
		c.settle()
	}
	return err
}

// renameLocked returns the contents that lie elsewhere now.
func (n *Node) renameLocked(name string, to *Node, newName string, exclusive bool) (moved []*content, after func(), err error) {
	after = func() {}
	kid, old := n.kids[name], to.kids[newName]
	if kid == nil {
		return nil, after, ErrNotExist
	}
	if kid == old {
		return nil, after, nil
	}
	moved, longest := kid.belowLocked()
	if err := n.movableLocked(kid, to, newName, exclusive, moved, longest); err != nil {
		return nil, after, err
	}
	from, ok := kid.diskLocked()
	p, ok2 := to.pathLocked()
	if !ok || !ok2 {
		return nil, after, ErrNotExist
	}
	if old != nil {
		if after, err = old.removeLocked(); err != nil {
			return nil, after, err
		}
	}
	if kid.folder {
		if err := unix.Rename(from, filepath.Join(n.area.cfg.Dir, p, newName)); err != nil {
			return nil, after, translate(err)
		}
	}
	delete(n.kids, name)
	kid.parent, kid.name = to, newName
	to.kids[newName] = kid
	n.touchLocked()
	to.touchLocked()
	for _, c := range moved {
		n.area.temporaryLocked(c)
	}
	return moved, after, nil
}

// movableLocked says why a node cannot move; moved and longest are belowLocked's.
func (n *Node) movableLocked(kid, to *Node, newName string, exclusive bool, moved []*content, longest int) error {
	p, ok := to.pathLocked()
	old := to.kids[newName]
	switch {
	case !ok:
		return ErrNotExist
	case old != nil && exclusive:
		return ErrExist
	case old != nil && old.folder != kid.folder, kid.isAbove(to):
		return ErrPlace
	case old != nil && old.folder && len(old.kids) > 0:
		return ErrNotEmpty
	case (to == n.area.root) != (n == n.area.root), to.sessionLocked() != n.sessionLocked():
		return ErrElsewhere // a model or a session stays one
	case len(newName) > longestName || len(p)+len(newName)+longest >= longestPath:
		return ErrName
	}
	for _, c := range moved {
		if c.phase != written {
			return ErrSealed
		}
	}
	return nil
}

// belowLocked are the contents of a node and all below, and how long the longest path
// below it is.
func (n *Node) belowLocked() (list []*content, longest int) {
	if n.content != nil {
		return []*content{n.content}, 0
	}
	for _, kid := range n.kids {
		more, long := kid.belowLocked()
		list = append(list, more...)
		longest = max(longest, 1+len(kid.name)+long)
	}
	return list, longest
}

// sessionLocked is the session that a node lies in; nil elsewhere.
func (n *Node) sessionLocked() *session {
	for at := n; at != nil; at = at.parent {
		if at.session != nil {
			return at.session
		}
	}
	return nil
}

// isAbove says whether a folder is o, or lies above it.
func (n *Node) isAbove(o *Node) bool {
	for at := o; at != nil; at = at.parent {
		if at == n {
			return true
		}
	}
	return false
}

// Forget follows the eviction of the file at p: the name goes, with all that lies in
// top (p itself, or a folder above) and the folders above that are empty then. It does
// nothing if another file has the name by now.
func (a *Area) Forget(p, top string) {
	var after []func()
	a.mu.Lock()
	if n := a.findLocked(p); n != nil && n.content != nil && n.content.evicted() {
		if at := a.findLocked(top); at != nil && at != a.root {
			a.forgetLocked(at, &after)
		}
	}
	a.mu.Unlock()
	for _, f := range after {
		f()
	}
}

func (a *Area) forgetLocked(at *Node, after *[]func()) {
	for {
		above := at.parent
		p, _ := at.pathLocked()
		if err := at.clearLocked(after); err != nil {
			a.cfg.Log.Warn("what was evicted keeps its name", "name", at.name, "error", err)
			return
		}
		a.goneLocked(p, after)
		// A user's folder stays: he may be about to write into it.
		if above == a.root || len(above.kids) > 0 || a.cfg.Kind == Objects && above.parent == a.root {
			return
		}
		at = above
	}
}

// goneLocked has it told that a name went by itself.
func (a *Area) goneLocked(p string, after *[]func()) {
	if a.cfg.Gone != nil {
		*after = append(*after, func() { a.cfg.Gone(p) })
	}
}

// evicted says whether its keeper has freed a file that was sealed.
func (c *content) evicted() bool { return c.phase == sealed && c.name.get() == "" }

func (a *Area) findLocked(p string) *Node {
	at := a.root
	for part := range strings.SplitSeq(p, "/") {
		if at = at.kids[part]; at == nil {
			return nil
		}
	}
	return at
}
