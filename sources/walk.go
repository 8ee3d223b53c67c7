// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symlinks a path may lead through, as in the kernel.
const maxLinks = 40

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
func (r *reach) passes(path string, st *unix.Stat_t) {
	mode := st.Mode & 0o777
	if mode&0o11 == 0o11 && mode&0o100 != 0 && !hasACL(path) {
		return // everybody passes
	}
	if hasACL(path) {
		mode &^= 0o077
	}
	r.folders = append(r.folders, passage{st.Uid, st.Gid, mode, strings.Count(strings.TrimSuffix(path, "/"), "/")})
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

// hasACL says whether a file has a POSIX ACL beyond its mode.
func hasACL(path string) bool {
	n, err := unix.Lgetxattr(path, "system.posix_acl_access", nil)
	return err == nil && n > 0
}

// walkFrom is walk for a path below a folder that everybody can get to.
func walkFrom(base, name string) (real string, st unix.Stat_t, r reach, err error) {
	if base == "" {
		return walk(name)
	}
	real, st, r, err = walk(name)
	above := strings.Count(base, "/") + 1 // "/" too
	r.folders = slices.DeleteFunc(r.folders, func(p passage) bool { return p.depth < above })
	return real, st, r, err
}

// walk resolves a path, one component after the other, and notes who can follow.
// The result names no symlink.
func walk(name string) (real string, st unix.Stat_t, r reach, err error) {
	todo := strings.Split(strings.Trim(path.Clean(name), "/"), "/")
	at := "/"
	if err := unix.Lstat(at, &st); err != nil {
		return "", st, r, &os.PathError{Op: "stat", Path: at, Err: err}
	}
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if st.Mode&unix.S_IFMT != unix.S_IFDIR {
				return "", st, r, &os.PathError{Op: "stat", Path: name, Err: unix.ENOTDIR}
			}
			r.passes(at, &st)
			at = path.Dir(at)
			if err := unix.Lstat(at, &st); err != nil {
				return "", st, r, &os.PathError{Op: "stat", Path: at, Err: err}
			}
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return "", st, r, &os.PathError{Op: "stat", Path: name, Err: unix.ENOTDIR}
		}
		r.passes(at, &st)
		next := path.Join(at, part)
		var child unix.Stat_t
		if err := unix.Lstat(next, &child); err != nil {
			return "", st, r, &os.PathError{Op: "stat", Path: next, Err: err}
		}
		if child.Mode&unix.S_IFMT != unix.S_IFLNK {
			at, st = next, child
			continue
		}
		if links++; links > maxLinks {
			return "", st, r, &os.PathError{Op: "stat", Path: name, Err: unix.ELOOP}
		}
		target, err := os.Readlink(next)
		if errors.Is(err, unix.EINVAL) { // it was a link a moment ago
			err = ErrReplaced
		}
		if err != nil {
			return "", st, r, fmt.Errorf("follow %s: %w", next, err)
		}
		todo = append(strings.Split(target, "/"), todo...)
		if path.IsAbs(target) {
			at = "/"
			if err := unix.Lstat(at, &st); err != nil {
				return "", st, r, &os.PathError{Op: "stat", Path: at, Err: err}
			}
		}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
	default:
		return "", st, r, fmt.Errorf("%s is neither a file nor a folder: %w", name, iofs.ErrNotExist)
	}
	if hasACL(at) {
		st.Mode &^= 0o077
	}
	return at, st, r, nil
}

// openReal opens what walk resolved, without following a link and without
// blocking, and sees that it still is the same file.
func openReal(real string, want *unix.Stat_t) (*os.File, error) {
	fd, err := unix.Open(real, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ELOOP) { // it was no link a moment ago
		err = ErrReplaced
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: real, Err: err}
	}
	var got unix.Stat_t
	if err := unix.Fstat(fd, &got); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "stat", Path: real, Err: err}
	}
	if got.Dev != want.Dev || got.Ino != want.Ino || got.Mode&unix.S_IFMT != want.Mode&unix.S_IFMT {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open %s: %w", real, ErrReplaced)
	}
	*want = got
	return os.NewFile(uintptr(fd), real), nil
}
