// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Fence keeps a daemon out of its own mount. Whoever waits for an answer of that
// mount waits for the daemon; the daemon itself would wait for ever, in a system call
// that not even a kill ends. The nil Fence is of a process that has no mount.
//
// So no path is given to the kernel to resolve as a whole, unless it can be had from
// what the kernel knows already. A descriptor of one name in a folder that is known
// to be outside (O_PATH), and what statx says of its filesystem (AT_STATX_DONT_SYNC),
// come without a request to that filesystem, also at the top of a mount. Prefixes of
// paths would not do: a bind mount shows the same filesystem at another place.
type Fence struct {
	point   identity // the folder that the mount covers, or will
	device  atomic.Uint64
	refused func(path string)

	mu   sync.Mutex
	said map[string]struct{}
}

// maxSaid is how many refused paths are told apart.
const maxSaid = 1000

type identity struct{ dev, ino uint64 }

// NewFence makes the fence around the mount that will be at a folder. refused is told
// of a path that leads into it, once of each; it may be nil.
func NewFence(mountPoint string, refused func(path string)) (*Fence, error) {
	var st unix.Stat_t
	if err := unix.Stat(mountPoint, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: mountPoint, Err: err}
	}
	return &Fence{
		point: identity{uint64(st.Dev), st.Ino}, refused: refused,
		said: make(map[string]struct{}),
	}, nil
}

// Mounted says which filesystem the mount is. It comes before the mount answers.
func (f *Fence) Mounted(device uint64) { f.device.Store(device) }

// admit looks at what was opened with O_PATH, and closes it if it lies inside.
func (f *Fence) admit(fd int, path string) (node, error) {
	n := node{fd: fd, path: path}
	if f != nil {
		var x unix.Statx_t
		if err := again(func() error {
			return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &x)
		}); err != nil {
			n.close()
			return node{}, &os.PathError{Op: "stat", Path: path, Err: err}
		}
		dev := unix.Mkdev(x.Dev_major, x.Dev_minor)
		if dev == f.device.Load() || f.point == (identity{dev, x.Ino}) {
			n.close()
			return node{}, fmt.Errorf("%s: %w", path, ErrOwnMount)
		}
	}
	if err := again(func() error { return unix.Fstat(fd, &n.st) }); err != nil {
		n.close()
		return node{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return n, nil
}

// say tells of a path that err refused, once the mount is there.
func (f *Fence) say(path string, err error) {
	if !errors.Is(err, ErrOwnMount) || f.device.Load() == 0 {
		return
	}
	f.mu.Lock()
	_, known := f.said[path]
	if !known && len(f.said) < maxSaid {
		f.said[path] = struct{}{}
	}
	full := len(f.said) == maxSaid
	f.mu.Unlock()
	if !known && !full && f.refused != nil {
		f.refused(path)
	}
}

// again repeats a system call that a signal ended: the runtime sends itself some.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
