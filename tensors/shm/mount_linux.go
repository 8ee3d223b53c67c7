// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const hugePageDir = "/sys/kernel/mm/transparent_hugepage"

// mount mounts the tmpfs with all that this kernel has: older ones lack noswap,
// some are built without huge pages.
func (s *Store) mount() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("folder of the segments: %w", err)
	}
	const within = "huge=within_size"
	huge := within
	if s.cfg.HugePages == Off {
		huge = "huge=never"
	}
	var err error
	for _, opts := range [][]string{{huge, "noswap"}, {huge}, {"noswap"}, {}} {
		opts = append(opts, "mode=0700", fmt.Sprintf("size=%d", s.cfg.Size))
		err = unix.Mount("modelfs", s.cfg.Dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, strings.Join(opts, ","))
		if err == nil {
			s.place = place{dir: s.cfg.Dir, ro: -1}
			s.info.Backend = "tmpfs"
			s.info.HugePages, s.info.Reason = hugePages(s.cfg.HugePages, opts[0] == within, hugePageDir)
			return nil
		}
		if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	_ = os.Remove(s.cfg.Dir)
	return fmt.Errorf("mount a tmpfs of %d bytes at %s: %w", s.cfg.Size, s.cfg.Dir, err)
}

// hugePages says whether large segments get huge pages, and why not.
func hugePages(want Mode, mounted bool, settings string) (bool, string) {
	if want == Off {
		return false, "huge pages: off by --hugepages"
	}
	if !mounted {
		return false, "huge pages: this kernel's tmpfs has none (CONFIG_TRANSPARENT_HUGEPAGE)"
	}
	denied := filepath.Join(settings, "shmem_enabled")
	if text, err := os.ReadFile(denied); err == nil && strings.Contains(string(text), "[deny]") {
		return false, fmt.Sprintf("huge pages: denied for every tmpfs (echo never > %s)", denied)
	}
	return true, ""
}

// readOnlyClone returns a descriptor of the same tmpfs, mounted nowhere, through
// which nothing can be opened for writing.
func readOnlyClone(dir string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) { // before 5.2
		return readOnlyBind(dir)
	}
	if err != nil {
		return -1, fmt.Errorf("clone the mount of %s: %w", dir, err)
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.ENOSYS) { // before 5.12
			return readOnlyBind(dir)
		}
		return -1, fmt.Errorf("make the clone of %s read-only: %w", dir, err)
	}
	return fd, nil
}

// readOnlyBind is readOnlyClone for kernels without mount_setattr: a bind over
// the folder itself, opened and detached at once.
func readOnlyBind(dir string) (int, error) {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return -1, fmt.Errorf("bind %s: %w", dir, err)
	}
	fd := -1
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := unix.Mount("", dir, "", flags, "")
	if err == nil {
		fd, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err2 := unix.Unmount(dir, unix.MNT_DETACH); err == nil && err2 != nil {
		_ = unix.Close(fd)
		err = err2
	}
	if err != nil {
		return -1, fmt.Errorf("make a read-only bind of %s: %w", dir, err)
	}
	return fd, nil
}

func removeFolder(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("folder of the segments: %w", err)
	}
	return nil
}

// CleanStale takes away what a killed process left at dir. Processes that still
// map its segments go on. What is mounted there and no tmpfs stays, and is an
// error.
func CleanStale(dir string) error {
	for {
		var own, above unix.Stat_t
		if err := unix.Lstat(dir, &own); err != nil {
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		if err := unix.Stat(filepath.Dir(dir), &above); err != nil {
			return fmt.Errorf("look at %s: %w", filepath.Dir(dir), err)
		}
		if own.Dev == above.Dev {
			return removeFolder(dir)
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		if fs.Type != unix.TMPFS_MAGIC {
			return fmt.Errorf("what is mounted at %s is no tmpfs: %w", dir, os.ErrExist)
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
}
