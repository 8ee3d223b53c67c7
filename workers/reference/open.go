// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import "golang.org/x/sys/unix"

const sharedMemoryDir = "/dev/shm"

// errNotRegular is EBADFD on its way from a helper: a folder, a device, a pipe.
const errNotRegular = unix.EBADFD

// folderOf is the folder that a place lies below.
func folderOf(root string, p Place) string {
	if p.kind == inSharedMemory {
		return sharedMemoryDir
	}
	return root
}

// openFolder opens a folder for nothing but what lies below: no file system is asked.
func openFolder(path string) (int, error) {
	return again(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
}

// beneath keeps a path below the folder that it starts at, whatever is there.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// openBelow opens a regular file at a place, with the rights of this thread, or fails
// with an errno. It follows no links, does not wait for whatever is no regular file, and
// fails with EAGAIN while a tensor is being loaded: it has begun then. To look a name up
// may wait, for the header of a weight file: then who can be interrupted, with EINTR.
func openBelow(root string, p Place, write bool, who *patient) (int, error) {
	dir, err := openFolder(folderOf(root, p))
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY,
		Resolve: beneath,
	}
	if write {
		how.Flags |= unix.O_RDWR // a mapping that can be written has to be read, too
	}
	fd, err := who.again(func() (int, error) { return unix.Openat2(dir, p.path, &how) })
	if err != nil {
		return -1, err
	}
	var st unix.Statx_t
	// What kind of file it is does not change: the mount need not be asked.
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, errNotRegular
	}
	// From here on reads may wait.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
