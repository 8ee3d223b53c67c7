// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place is a tmpfs of the store's own; the zero value makes memfds.
type place struct {
	dir    string
	ro     int // descriptor of the read-only clone of the mount, -1 while there is none
	events *events
}

// open mounts the tmpfs. Without the privilege for that it takes memfds.
func (s *Store) open() error {
	if s.cfg.Dir == "" {
		s.useMemfds("huge pages need a tmpfs of the daemon's own, which only root can mount")
		return nil
	}
	if s.cfg.Size <= 0 { // to the kernel 0 is "no limit"
		return fmt.Errorf("tmpfs of %d bytes at %s: %w", s.cfg.Size, s.cfg.Dir, os.ErrInvalid)
	}
	err := s.mount()
	if errors.Is(err, unix.EPERM) {
		s.useMemfds(fmt.Sprintf("huge pages need a tmpfs of the daemon's own: %v", err))
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		_ = s.Close()
		return err
	}
	return nil
}

func (s *Store) useMemfds(reason string) {
	s.info.Backend, s.info.Reason = "memfd", reason
}

// prepare makes the read-only clone, the watch, and tests that leases work.
func (s *Store) prepare() error {
	var err error
	if s.place.ro, err = readOnlyClone(s.cfg.Dir); err != nil {
		return err
	}
	if s.place.events, err = watch(s.cfg.Dir, s.wake); err != nil {
		return err
	}
	if err := s.testLease(); err != nil {
		return err
	}
	s.info.Leases = true
	return nil
}

// create makes an empty file, named entry unless it is a memfd.
func (p *place) create(entry string) (*os.File, string, error) {
	if p.dir == "" {
		fd, err := memfd("modelfs:" + entry)
		if err != nil {
			return nil, "", fmt.Errorf("memfd: %w", err)
		}
		return os.NewFile(uintptr(fd), entry), "", nil
	}
	f, err := os.OpenFile(filepath.Join(p.dir, entry), os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	return f, entry, err
}

// memfd makes one that can be sealed. Kernels from 6.3 on want to hear that
// nothing in it is executed, older ones refuse the flag.
func memfd(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	return fd, err
}

// reserve gives a file its size, and takes the memory for it at once.
func (s *Store) reserve(f *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	return s.Extend(f, 0, size)
}

// Extend makes a file of the caller's on the store's tmpfs larger, from so many bytes to
// so many, and takes the memory for it at once: ErrNoSpace, or ErrNoMemory where the
// kernel would kill somebody. Then the file is as it was.
func (s *Store) Extend(f *os.File, from, to int64) error {
	s.reserving.Lock()
	defer s.reserving.Unlock()
	if err := s.memory.take(to - from); err != nil {
		return err
	}
	// The size first: kernels before 6.14 choose huge pages by it alone.
	if err := f.Truncate(to); err != nil {
		return err
	}
	err := allocate(int(f.Fd()), from, to-from)
	if err != nil {
		_ = f.Truncate(from)
	}
	return err
}

func allocate(fd int, off, n int64) error {
	for {
		err := unix.Fallocate(fd, 0, off, n)
		switch {
		case errors.Is(err, unix.EINTR): // by the runtime's own signals, before 6.0
			continue
		case errors.Is(err, unix.ENOSPC):
			return ErrNoSpace
		case errors.Is(err, unix.ENOMEM):
			return ErrNoMemory
		}
		return err
	}
}

// seal opens the file again, read-only: a named one through the read-only clone,
// a memfd once nothing can ever write to it.
func (p *place) seal(f *os.File, entry string) (*os.File, error) {
	if entry != "" {
		fd, err := p.open(entry)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), entry), nil
	}
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS,
		unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	fd, err := openAgain(f)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// open opens a name below the folder through the read-only clone.
func (p *place) open(entry string) (int, error) {
	fd, err := unix.Openat(p.ro, entry, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", entry, err)
	}
	return fd, nil
}

// leases says whether the kernel tells who uses a segment of that name.
func (p *place) leases(entry string) bool { return entry != "" }

// descriptors is how many files this process may have open.
func descriptors() int64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(limit.Cur)
}

// openAgain opens a file once more, read-only and through the same mount.
func openAgain(f *os.File) (int, error) { return openWith(f, 0) }

func openWith(f *os.File, flags int) (int, error) {
	path := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s (%s): %w", path, f.Name(), err)
	}
	return fd, nil
}

// blocks is the memory that a file takes.
func blocks(f *os.File) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return st.Blocks * 512, nil
}

// adopt opens a file through the read-only clone, if it lies on the tmpfs.
func (p *place) adopt(path string) (f *os.File, leased bool, err error) {
	entry, ok := strings.CutPrefix(path, p.dir+"/")
	if p.dir == "" || !ok {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		return f, false, err
	}
	fd, err := p.open(entry)
	if err != nil {
		return nil, false, err
	}
	return os.NewFile(uintptr(fd), entry), true, nil
}

// Watch asks for events of a folder on the tmpfs, as those of the store's own.
func (s *Store) Watch(dir string) error {
	if s.place.events == nil {
		return nil
	}
	return s.place.events.add(dir)
}

func (p *place) remove(entry string) error {
	return os.Remove(filepath.Join(p.dir, entry))
}

func (p *place) close() error {
	if p.dir == "" {
		return nil
	}
	p.events.close()
	if p.ro >= 0 {
		_ = unix.Close(p.ro)
	}
	err := unix.Unmount(p.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", p.dir, err)
	}
	return removeFolder(p.dir)
}
