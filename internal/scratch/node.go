// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Owner is who makes something.
type Owner struct{ Uid, Gid uint32 }

// Node is one name of an area. It stays the same value under another name.
type Node struct {
	area   *Area
	id     uint64
	folder bool

	// Guarded by Area.mu.
	parent  *Node // nil for the root, and without a name
	name    string
	kids    map[string]*Node // of a folder
	content *content         // of a file
	session *session         // of a session's folder
}

// IsFolder says which of the two it is.
func (n *Node) IsFolder() bool { return n.folder }

// ID tells the contents of one name apart; 0 for folders.
func (n *Node) ID() uint64 {
	if n.folder {
		return 0
	}
	return n.id
}

// Path is the node's below the area; "" for the root. It is false without a name.
func (n *Node) Path() (string, bool) {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	return n.pathLocked()
}

func (n *Node) pathLocked() (string, bool) {
	var parts []string
	for at := n; at != n.area.root; at = at.parent {
		if at.parent == nil {
			return "", false
		}
		parts = append(parts, at.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/"), true
}

// diskLocked is where the node lies on the tmpfs. A file that is not sealed has a
// hidden name there: who scans the folder for models does not find it.
func (n *Node) diskLocked() (string, bool) {
	p, ok := n.pathLocked()
	if !ok {
		return "", false
	}
	if n.content != nil && !n.content.sealed {
		p = filepath.Join(filepath.Dir(p), n.content.hidden)
	}
	return filepath.Join(n.area.cfg.Dir, p), true
}

// Lookup finds a name in a folder.
func (n *Node) Lookup(name string) (*Node, bool) {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	kid, ok := n.kids[name]
	return kid, ok
}

// List returns what a folder holds, by name.
func (n *Node) List() []*Node {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	out := make([]*Node, 0, len(n.kids))
	for _, kid := range n.kids {
		out = append(out, kid)
	}
	slices.SortFunc(out, func(a, b *Node) int { return strings.Compare(a.name, b.name) })
	return out
}

// Name is the node's last name.
func (n *Node) Name() string {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	return n.name
}

// Stat is what the tmpfs says of a node, with the true size of a file.
func (n *Node) Stat() (unix.Stat_t, error) {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	var st unix.Stat_t
	disk, ok := n.diskLocked()
	if !ok {
		if n.content == nil {
			return st, ErrNotExist
		}
		err := n.content.fstat(&st)
		return st, err
	}
	if err := unix.Lstat(disk, &st); err != nil {
		return st, translate(err)
	}
	if n.content != nil && !n.content.sealed {
		st.Size = n.content.size.Load()
		st.Blocks = (n.content.charge.Load() + 511) / 512
	}
	return st, nil
}

// Sealed says whether a file is.
func (n *Node) Sealed() bool {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	return n.content != nil && n.content.sealed
}

// addLocked puts a new node under a name.
func (n *Node) addLocked(name string, folder bool) *Node {
	n.area.next++
	kid := &Node{area: n.area, id: n.area.next, folder: folder, parent: n, name: name}
	if folder {
		kid.kids = make(map[string]*Node)
	}
	n.kids[name] = kid
	return kid
}

// placeLocked says whether something may be made in a folder: files lie in a model,
// a session or a user's folder, never beside them.
func (n *Node) placeLocked(name string, folder bool) error {
	if _, ok := n.pathLocked(); !ok {
		return ErrNotExist
	}
	switch {
	case n.kids[name] != nil:
		return fmt.Errorf("%s: %w", name, ErrExist)
	case n == n.area.root && (!folder || n.area.cfg.Kind == Objects):
		return fmt.Errorf("%s: %w", name, ErrPlace)
	case n.area.cfg.Kind == Sessions && folder && n != n.area.root:
		return fmt.Errorf("%s: a session has no folders: %w", name, ErrPlace)
	}
	return nil
}

// Mkdir makes a folder.
func (n *Node) Mkdir(name string, mode os.FileMode, who Owner) (*Node, error) {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	if err := n.placeLocked(name, true); err != nil {
		return nil, err
	}
	return n.mkdirLocked(name, mode, who)
}

func (n *Node) mkdirLocked(name string, mode os.FileMode, who Owner) (*Node, error) {
	disk, ok := n.diskLocked()
	if !ok {
		return nil, ErrNotExist
	}
	disk = filepath.Join(disk, name)
	if err := unix.Mkdir(disk, 0o700); err != nil {
		return nil, translate(err)
	}
	err := n.area.own(disk, uint32(mode)&0o7777, who)
	if err == nil {
		err = n.area.watch(disk)
	}
	if err != nil {
		_ = unix.Rmdir(disk)
		return nil, err
	}
	kid := n.addLocked(name, true)
	if n.area.cfg.Kind == Sessions {
		kid.session = &session{quota: n.area.cfg.Quota, ttl: n.area.cfg.TTL, used: time.Now()}
		n.area.wakeLocked(kid.session.ttl)
	}
	return kid, nil
}

// own gives what was just made to its maker.
func (a *Area) own(disk string, mode uint32, who Owner) error {
	if a.cfg.GiveAway {
		if err := unix.Lchown(disk, int(who.Uid), int(who.Gid)); err != nil {
			return err
		}
	} else if int(who.Uid) != os.Geteuid() {
		return fmt.Errorf("an unprivileged daemon keeps no files of others: %w", os.ErrPermission)
	}
	return unix.Chmod(disk, mode)
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
	disk, ok := n.diskLocked()
	if !ok {
		return func() {}, ErrNotExist
	}
	p, _ := n.pathLocked()
	switch {
	case n.folder:
		err = unix.Rmdir(disk)
	case n.content.sealed:
		err = n.content.name.unlink()
	default:
		err = unix.Unlink(disk)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return func() {}, translate(err)
	}
	delete(n.parent.kids, n.name)
	n.parent = nil
	if n.folder {
		return func() {}, nil
	}
	return n.content.lost(p), nil
}

// Rename moves a name, over a file or an empty folder unless exclusive. What holds
// sealed files stays where it is: they are known by their place.
func (n *Node) Rename(name string, to *Node, newName string, exclusive bool) error {
	a := n.area
	if to.area != a {
		return ErrElsewhere
	}
	a.mu.Lock()
	after, err := n.renameLocked(name, to, newName, exclusive)
	var open []*content
	if err == nil {
		open = a.openLocked() // under their final name now, perhaps
	}
	a.mu.Unlock()
	after()
	for _, c := range open {
		c.trySeal()
	}
	return err
}

func (n *Node) renameLocked(name string, to *Node, newName string, exclusive bool) (after func(), err error) {
	after = func() {}
	kid := n.kids[name]
	old := to.kids[newName]
	switch {
	case kid == nil:
		return after, ErrNotExist
	case kid == old:
		return after, nil
	case old != nil && exclusive:
		return after, ErrExist
	case old != nil && old.folder != kid.folder, kid.isAbove(to):
		return after, ErrPlace
	case old != nil && old.folder && len(old.kids) > 0:
		return after, ErrNotEmpty
	case kid.hasSealed():
		return after, ErrSealed
	case (to == n.area.root) != (n == n.area.root), to.session != n.session:
		return after, ErrElsewhere // a model or a session stays one
	}
	from, ok := kid.diskLocked()
	toDisk, ok2 := to.diskLocked()
	if !ok || !ok2 {
		return after, ErrNotExist
	}
	if old != nil {
		if after, err = old.removeLocked(); err != nil {
			return after, err
		}
	}
	target := filepath.Join(toDisk, newName)
	if kid.content != nil {
		target = filepath.Join(toDisk, kid.content.hidden)
	}
	if err := unix.Rename(from, target); err != nil {
		return after, translate(err)
	}
	delete(n.kids, name)
	kid.parent, kid.name = to, newName
	to.kids[newName] = kid
	return after, nil
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

// hasSealed says whether the node, or anything below, is sealed.
func (n *Node) hasSealed() bool {
	if n.content != nil {
		return n.content.sealed
	}
	for _, kid := range n.kids {
		if kid.hasSealed() {
			return true
		}
	}
	return false
}

// Chmod changes a node's permissions, also a sealed file's: its bytes are what is
// immutable.
func (n *Node) Chmod(mode uint32) error {
	return n.onDisk(func(disk string) error { return unix.Chmod(disk, mode&0o7777) })
}

// Chown gives a node to somebody; -1 stays.
func (n *Node) Chown(uid, gid int) error {
	if !n.area.cfg.GiveAway {
		return os.ErrPermission
	}
	return n.onDisk(func(disk string) error { return unix.Lchown(disk, uid, gid) })
}

// Chtimes sets times, in nanoseconds since 1970; unix.UTIME_OMIT stays.
func (n *Node) Chtimes(times [2]unix.Timespec) error {
	return n.onDisk(func(disk string) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, disk, times[:], unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (n *Node) onDisk(change func(disk string) error) error {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	disk, ok := n.diskLocked()
	if !ok {
		return ErrNotExist
	}
	return translate(change(disk))
}

// Forget takes away what lies at a path and below, whose files on disk may be gone
// already, and the folders above that are empty then.
func (a *Area) Forget(p string) {
	a.mu.Lock()
	at := a.root
	for part := range strings.SplitSeq(p, "/") {
		if at = at.kids[part]; at == nil {
			a.mu.Unlock()
			return
		}
	}
	var done []func()
	var remove func(n *Node)
	remove = func(n *Node) {
		for _, kid := range n.kids {
			remove(kid)
		}
		after, _ := n.removeLocked()
		done = append(done, after)
	}
	above := at.parent
	remove(at)
	for above != a.root && len(above.kids) == 0 {
		n := above
		above = n.parent
		remove(n)
	}
	a.mu.Unlock()
	for _, f := range done {
		f()
	}
}
