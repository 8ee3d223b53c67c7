// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"path/filepath"
	"slices"
	"strings"

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
	mode    uint32           // what it shows: the daemon needs more on disk, see onDisk
	kids    map[string]*Node // of a folder
	content *content         // of a file
	session *session         // of a session's folder
}

// IsFolder says which of the two it is.
func (n *Node) IsFolder() bool { return n.folder }

// ID tells apart what has one name, one after another.
func (n *Node) ID() uint64 { return n.id }

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

// diskLocked is where the node lies on the tmpfs, while it has a name. A file that is
// not sealed lies elsewhere: who scans the folder for models does not find it.
func (n *Node) diskLocked() (string, bool) {
	if n.content != nil {
		return n.content.name.get(), !n.content.lost
	}
	p, ok := n.pathLocked()
	return filepath.Join(n.area.cfg.Dir, p), ok
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

// Stat is what the tmpfs says of a node, with the true size of a file and the mode
// that was given to it. Without a name it is ErrReplaced, but for a file that somebody
// has open.
func (n *Node) Stat() (unix.Stat_t, error) {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	var st unix.Stat_t
	var err error
	disk, named := n.diskLocked()
	switch {
	case named:
		err = translate(unix.Lstat(disk, &st))
	case n.content != nil:
		err = n.content.fstatLocked(&st)
	default:
		err = ErrReplaced // the kernel looks again: there may be another one
	}
	if err != nil {
		return st, err
	}
	if n.content != nil {
		n.content.showLocked(&st)
	}
	st.Mode = st.Mode&^0o7777 | n.mode
	return st, nil
}

// Last is what Stat said of a sealed file that has lost its name: who has it open keeps
// that. It is false for what nobody can have.
func (n *Node) Last() (unix.Stat_t, bool) {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	c := n.content
	if c == nil || !c.lost || c.last.Ino == 0 {
		return unix.Stat_t{}, false
	}
	st := c.last
	st.Mode = st.Mode&^0o7777 | n.mode
	return st, true
}

// Sealed says whether a file is.
func (n *Node) Sealed() bool {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	return n.content != nil && n.content.phase == sealed
}

// onDisk is a node's mode on disk. A daemon without privileges must get at what its
// owner denies himself.
func (a *Area) onDisk(n *Node) uint32 {
	switch {
	case a.cfg.GiveAway:
		return n.mode
	case n.folder:
		return n.mode | 0o700
	}
	return n.mode | 0o600
}

// fileMode is a file's: no rights for who runs it, as the mount is nosuid and a write
// would have to take them off.
func fileMode(mode uint32) uint32 { return mode & 0o1777 }

// Chmod changes a node's permissions, also a sealed file's: its bytes are what is
// immutable.
func (n *Node) Chmod(mode uint32) error {
	return n.change(func(disk string) error {
		before := n.mode
		n.mode = mode & 0o7777
		if !n.folder {
			n.mode = fileMode(mode)
		}
		err := unix.Chmod(disk, n.area.onDisk(n))
		if err != nil {
			n.mode = before
		}
		return err
	})
}

// Chown gives a node to somebody, if the daemon may; -1 stays.
func (n *Node) Chown(uid, gid int) error {
	return n.change(func(disk string) error {
		if err := unix.Chown(disk, uid, gid); err != nil {
			return err
		}
		return unix.Chmod(disk, n.area.onDisk(n)) // the kernel takes bits off
	})
}

// Chtimes sets times, in nanoseconds since 1970; unix.UTIME_OMIT stays.
func (n *Node) Chtimes(times [2]unix.Timespec) error {
	return n.change(func(disk string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, disk, times[:], 0) })
}

// change changes what the tmpfs has of a node, by its name or without.
func (n *Node) change(f func(disk string) error) error {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	disk, ok := n.diskLocked()
	switch {
	case ok:
	case n.content == nil, n.content.file == nil:
		return ErrReplaced
	default:
		disk = procPath(n.content.file)
	}
	return translate(f(disk))
}

// touchLocked notes that a folder has other names now.
func (n *Node) touchLocked() {
	if disk, ok := n.diskLocked(); ok {
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, disk, times, 0)
	}
}
