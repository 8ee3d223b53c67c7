// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// reach is who can get through the folders on a path. A folder is passed by its
// owner, by its group and by others, as its mode's search bits say.
type reach struct {
	folders []passage
}

type passage struct {
	uid, gid uint32
	mode     uint32
	depth    int // of the folder: 0 for "/"
}

// passes adds a folder that lies on the way. With an ACL its group bits are a
// mask and say nothing of the group: only the owner is known to pass then.
func (r *reach) passes(folder node) {
	mode, acl := folder.st.Mode&0o777, folder.hasACL()
	if mode&0o11 == 0o11 && mode&0o100 != 0 && !acl {
		return // everybody passes
	}
	if acl {
		mode &^= 0o077
	}
	r.folders = append(r.folders, passage{folder.st.Uid, folder.st.Gid, mode, strings.Count(strings.TrimSuffix(folder.path, "/"), "/")})
}

// narrow returns the permission bits of a file, or of a folder, at the end of
// the way. What a class of users cannot reach, it may not read.
//
// A class is kept only if all who may be in it pass. Others of the file may be of
// the folder's group, and members of the file's group may not be of the
// folder's: they need both bits. root passes everywhere.
func (r *reach) narrow(st *unix.Stat_t) uint32 {
	mode := st.Mode & 0o7777
	for _, f := range r.folders {
		anybody := f.mode&0o11 == 0o11
		if !anybody && (f.uid != st.Uid || f.mode&0o100 == 0) && st.Uid != 0 {
			mode &^= 0o700
		}
		if !anybody && (f.gid != st.Gid || f.mode&0o10 == 0) {
			mode &^= 0o070
		}
		if !anybody {
			mode &^= 0o007
		}
	}
	return mode
}

// walk resolves a path and notes who can follow, below a folder that everybody can get
// to: "" is "/". The caller closes the node.
func (f *Fence) walk(base, name string) (n node, r reach, err error) {
	n, err = f.resolve(name, r.passes)
	if err != nil {
		return node{}, r, err
	}
	if !n.isFolder() && n.kind() != unix.S_IFREG {
		n.close()
		return node{}, r, fmt.Errorf("%s is neither a file nor a folder: %w", name, iofs.ErrNotExist)
	}
	if n.hasACL() {
		n.st.Mode &^= 0o077
	}
	if base != "" {
		above := strings.Count(base, "/") + 1 // "/" too
		r.folders = slices.DeleteFunc(r.folders, func(p passage) bool { return p.depth < above })
	}
	return n, r, nil
}

// read opens a file that was found, under a name, and looks at it again. A weight file
// is waited for: it may lie in a mount where it is loaded first. Of others an open never
// blocks.
func (n *node) read(name string) (*os.File, error) {
	flags := unix.O_NONBLOCK
	if IsWeight(path.Base(name)) {
		flags = 0
	}
	file, err := n.open(flags)
	if err != nil {
		return nil, err
	}
	if err := unix.Fstat(int(file.Fd()), &n.st); err != nil {
		_ = file.Close()
		return nil, &os.PathError{Op: "stat", Path: n.path, Err: err}
	}
	return file, nil
}
