// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symlinks a path may lead through, as in the kernel.
const maxLinks = 40

// node is something on disk, held by a descriptor: whatever its names become, it is
// what was looked at. The descriptor is good for looking only (O_PATH).
type node struct {
	fd   int
	path string // that it was found by
	st   unix.Stat_t
}

func (n node) close() { _ = unix.Close(n.fd) }

func (n node) kind() uint32 { return n.st.Mode & unix.S_IFMT }

func (n node) isFolder() bool { return n.kind() == unix.S_IFDIR }

// proc is a path to the node that leads through no folder but /proc's.
func (n node) proc() string { return "/proc/self/fd/" + strconv.Itoa(n.fd) }

// hasACL says whether it has a POSIX ACL beyond its mode.
func (n node) hasACL() bool {
	size, err := unix.Getxattr(n.proc(), "system.posix_acl_access", nil)
	return err == nil && size > 0
}

// open opens a file or folder for reading.
func (n node) open(flags int) (*os.File, error) {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Open(n.proc(), unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: n.path, Err: err}
	}
	return os.NewFile(uintptr(fd), n.path), nil
}

// names are what a folder holds, sorted.
func (n node) names() ([]os.DirEntry, error) {
	dir, err := n.open(unix.O_DIRECTORY | unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	found, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return found, nil
}

// link is where a symlink leads.
func (n node) link() (string, error) {
	b := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(n.fd, "", b)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: n.path, Err: err}
	}
	return string(b[:size]), nil
}

// top is "/".
func (f *Fence) top() (node, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return node{}, &os.PathError{Op: "stat", Path: "/", Err: err}
	}
	return f.admit(fd, "/")
}

// step goes one name further, and follows no link. What is mounted on a folder only
// when somebody enters it is mounted by that.
func (f *Fence) step(dir node, name string) (node, error) {
	p := path.Join(dir.path, name)
	var fd int
	open := func(flags int) error {
		return again(func() (err error) {
			fd, err = unix.Openat(dir.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC|flags, 0)
			return err
		})
	}
	err := open(unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) && dir.isFolder() {
		err = open(0)
	}
	if err != nil {
		return node{}, &os.PathError{Op: "stat", Path: p, Err: err}
	}
	return f.admit(fd, p)
}

// resolve follows a path, one component after the other, and shows each folder on the
// way to whoever wants to know. Their paths, and that of the result, name no symlink.
// The caller closes what it leads to.
func (f *Fence) resolve(name string, through func(folder node)) (n node, err error) {
	defer func() { f.say(name, err) }()
	at, err := f.top()
	if err != nil {
		return node{}, err
	}
	todo := strings.Split(strings.Trim(path.Clean(name), "/"), "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == "" || part == "." {
			continue
		}
		if through != nil && at.isFolder() {
			through(at)
		}
		next, err := f.step(at, part)
		if err != nil {
			at.close()
			return node{}, err
		}
		if next.kind() != unix.S_IFLNK {
			at.close()
			at = next
			continue
		}
		target, err := next.link()
		next.close()
		if links++; err == nil && links > maxLinks {
			err = &os.PathError{Op: "stat", Path: name, Err: unix.ELOOP}
		}
		if err == nil && path.IsAbs(target) {
			at.close()
			at, err = f.top()
			if err != nil {
				return node{}, err
			}
		}
		if err != nil {
			at.close()
			return node{}, fmt.Errorf("follow %s: %w", next.path, err)
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return at, nil
}

// find follows a path like resolve, in a system call where the kernel knows all of it:
// so it asks nobody, and a path into the mount is as good as any to find that out.
func (f *Fence) find(name string) (node, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolveCached})
	if err != nil {
		n, err := f.resolve(name, nil)
		n.path = name
		return n, err
	}
	n, err := f.admit(fd, name)
	f.say(name, err)
	return n, err
}

// resolveCached is RESOLVE_CACHED of openat2(2): only what needs no request and no
// lock, else EAGAIN (Linux 5.12; older ones refuse it).
const resolveCached = 0x20

// stat is what find finds.
func (f *Fence) stat(name string) (unix.Stat_t, error) {
	n, err := f.find(name)
	if err != nil {
		return unix.Stat_t{}, err
	}
	n.close()
	return n.st, nil
}
