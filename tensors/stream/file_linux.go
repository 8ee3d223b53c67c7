// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tensors/shm"
)

// create takes over the stream at path, or makes a new file. It begins again when
// another process changes what path names meanwhile.
func create(path string, l layout) (*Writer, error) {
	for {
		old, was, err := openFile(path, os.O_RDWR)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			w, err := replace(path, l, nil, layout{})
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			return w, err
		case err != nil:
			return nil, err
		}
		if err := lock(old); err != nil {
			err = fmt.Errorf("%w: %w", err, producer(old))
			old.Close()
			return nil, err
		}
		if displaced(old, path) {
			old.Close()
			continue
		}
		if !was.equal(l) {
			w, err := replace(path, l, old, was)
			old.Close()
			return w, err
		}
		w, err := start(old, l)
		if err != nil {
			old.Close()
		}
		return w, err
	}
}

// replace makes a new file and gives it the name, in place of old, if there is one,
// whose lock is held. It is fs.ErrExist if there was none, and is now.
func replace(path string, l layout, old *os.File, was layout) (_ *Writer, err error) {
	folder, name := filepath.Split(path)
	// A name with a dot: a mount removes what a killed process leaves there.
	f, err := os.OpenFile(filepath.Join(folder, fmt.Sprintf(".%s.%d.%d", name, os.Getpid(), now())), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name()) // not there any more, if the last step failed
		}
	}()
	if err := reserve(f, l.size()); err != nil {
		return nil, fmt.Errorf("%d slots of %d bytes: %w", l.slots, l.stride, err)
	}
	if _, err := f.WriteAt(l.encode(), 0); err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, err
	}
	w, err := start(f, l)
	if err != nil {
		return nil, err
	}
	if err := rename(f.Name(), path, old != nil); err != nil {
		w.ring.memory.Close()
		return nil, err
	}
	if old != nil {
		tellReplaced(old, was)
	}
	return w, nil
}

// tellReplaced wakes the readers of a file that has lost its name. Where that fails
// they see it when they look.
func tellReplaced(old *os.File, l layout) {
	memory, err := shm.MapShared(old, l.size(), true)
	if err != nil {
		return
	}
	r := newRing(l, memory)
	r.state.Store(stateReplaced)
	r.tell()
	memory.Close()
}

// reserve gives a file its size and, where that can be had, its room: what does not
// fit is an error now, and not a SIGBUS later.
func reserve(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return os.NewSyscallError("fallocate", err)
}

func rename(from, to string, over bool) error {
	if over {
		return os.Rename(from, to)
	}
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// openFile opens a file and reads what stream it is.
func openFile(path string, flags int) (*os.File, layout, error) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0) // a FIFO's open would wait
	if err != nil {
		return nil, layout{}, err
	}
	l, err := readLayout(f)
	if err != nil {
		f.Close()
		return nil, layout{}, err
	}
	return f, l, nil
}

func readLayout(f *os.File) (layout, error) {
	info, err := f.Stat()
	if err != nil {
		return layout{}, err
	}
	if !info.Mode().IsRegular() {
		return layout{}, fmt.Errorf("no regular file: %w", ErrNotStream)
	}
	b := make([]byte, fixedSize)
	if _, err := f.ReadAt(b[:min(fixedSize, info.Size())], 0); err != nil {
		return layout{}, err
	}
	return parse(b, info.Size())
}

// The producer's lock is one of the open file, over all of it: a process's own would
// go with any other descriptor of the file that the process closes, and flock's could
// be taken by who may only read.
func lock(f *os.File) error {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrBusy
	}
	return os.NewSyscallError("lock", err)
}

// locked says whether somebody has the lock.
func locked(f *os.File) (bool, error) {
	l := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, os.NewSyscallError("look at the lock", err)
	}
	return l.Type != unix.F_UNLCK, nil
}

// producer says who has the lock, in an error.
func producer(f *os.File) error {
	var b [4]byte
	if _, err := f.ReadAt(b[:], atProducer); err != nil {
		return err
	}
	return fmt.Errorf("process %d, by its own account", le.Uint32(b[:]))
}

// displaced says whether path names another file now, or none. Who cannot look does
// not know, and goes on.
func displaced(f *os.File, path string) bool {
	is, err := os.Stat(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	mine, err := f.Stat()
	return err == nil && !os.SameFile(is, mine)
}

// now is the machine's monotonic clock, which all its processes share.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
