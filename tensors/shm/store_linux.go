// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Mode is how far a kernel feature is wanted.
type Mode string

// The modes.
const (
	Auto Mode = "auto"
	On   Mode = "on"
	Off  Mode = "off"
)

// Config is what a Store is made of.
type Config struct {
	// Dir is where the tmpfs is mounted; it is made, 0700. Empty: memfds.
	Dir string
	// Size is the tmpfs's limit in bytes.
	Size      int64
	HugePages Mode
}

// Info says what the store could get.
type Info struct {
	Backend   string // "tmpfs" or "memfd"
	HugePages bool
	Leases    bool
	Reason    string // why something is missing
	// Prefix is random, not zero, and one per store: the upper half of the
	// inode numbers of everything that is made from its segments.
	Prefix uint32
}

// Store makes segments.
type Store struct {
	cfg    Config
	info   Info
	next   atomic.Uint64
	ro     int // descriptor of the read-only clone of the mount, -1 for memfds
	events *events

	close sync.Once
}

// Open makes the store. Everything that it has made is given back on an error.
func Open(cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, ro: -1}
	s.info.Prefix = prefix()
	if cfg.Dir == "" {
		s.info.Backend = "memfd"
		s.info.Reason = "huge pages need a tmpfs of the daemon's own, which only root can mount"
		s.events = &events{wake: make(chan struct{}, 1)}
		return s, nil
	}
	if err := s.mount(); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// prefix is at least 2^20, so that the inode numbers are long: nothing else on
// the machine has such.
func prefix() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint32(b[:])&0x7fffffff | 1<<20
}

// mount mounts the tmpfs with all that this kernel has: older ones lack noswap,
// some are built without huge pages.
func (s *Store) mount() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("folder of the segments: %w", err)
	}
	s.info.Backend = "tmpfs"
	huge := "huge=within_size"
	if s.cfg.HugePages == Off {
		huge = "huge=never"
	}
	var err error
	for _, opts := range [][]string{{huge, "noswap"}, {huge}, {"noswap"}, {}} {
		opts = append(opts, "mode=0700", fmt.Sprintf("size=%d", s.cfg.Size))
		err = unix.Mount("modelfs", s.cfg.Dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, strings.Join(opts, ","))
		if err == nil {
			s.info.HugePages = opts[0] == "huge=within_size"
			switch {
			case s.cfg.HugePages == Off:
				s.info.Reason = "huge pages: off by --hugepages"
			case !s.info.HugePages:
				s.info.Reason = "huge pages: this kernel's tmpfs has none (CONFIG_TRANSPARENT_HUGEPAGE)"
			}
			return nil
		}
		if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	_ = os.Remove(s.cfg.Dir)
	return fmt.Errorf("mount a tmpfs of %d bytes at %s: %w", s.cfg.Size, s.cfg.Dir, err)
}

// prepare makes the read-only clone, the watch, and tests that leases work.
func (s *Store) prepare() error {
	var err error
	if s.ro, err = readOnlyClone(s.cfg.Dir); err != nil {
		return err
	}
	if s.events, err = watch(s.cfg.Dir); err != nil {
		return err
	}
	return s.testLease()
}

// readOnlyClone returns a descriptor of the same tmpfs, mounted nowhere, through
// which nothing can be opened for writing.
func readOnlyClone(dir string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("clone the mount of %s: %w", dir, err)
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("make the clone of %s read-only: %w", dir, err)
	}
	return fd, nil
}

// testLease sees once that a lease is refused while a file is open elsewhere and
// granted when it is not: eviction rests on it.
func (s *Store) testLease() error {
	b, err := s.Create("lease test", 4096)
	if err != nil {
		return err
	}
	seg, err := b.Seal()
	if err != nil {
		return err
	}
	fd, err := seg.OpenBacking()
	if err != nil {
		return err
	}
	used, err := seg.InUse()
	_ = unix.Close(fd)
	if err != nil || !used {
		return fmt.Errorf("file leases do not work on this tmpfs (fs.leases-enable?): in use %v, %w", used, err)
	}
	if err := seg.Remove(); err != nil {
		return fmt.Errorf("file leases do not work on this tmpfs (fs.leases-enable?): %w", err)
	}
	s.info.Leases = true
	return nil
}

// Info says what the store could get.
func (s *Store) Info() Info { return s.info }

// Dir is the tmpfs's folder, "" for memfds.
func (s *Store) Dir() string { return s.cfg.Dir }

// Events wakes when some descriptor or mapping of a segment has gone. Events
// merge and the store's own closes cause some too: a hint, the lease decides.
func (s *Store) Events() <-chan struct{} { return s.events.wake }

// Close takes the tmpfs away. Mappings that processes still hold stay valid.
func (s *Store) Close() error {
	var err error
	s.close.Do(func() {
		if s.cfg.Dir == "" {
			return
		}
		if s.events != nil {
			s.events.close()
		}
		if s.ro >= 0 {
			_ = unix.Close(s.ro)
		}
		err = unmount(s.cfg.Dir)
	})
	return err
}

func unmount(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("folder of the segments: %w", err)
	}
	return nil
}

// CleanStale takes away what a killed process left at dir. Processes that still
// map its segments go on.
func CleanStale(dir string) error {
	for range 8 { // stacked mounts, one for each process that was killed
		var own, above unix.Stat_t
		if err := unix.Stat(dir, &own); err != nil {
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		if err := unix.Stat(filepath.Dir(dir), &above); err != nil {
			return fmt.Errorf("look at %s: %w", filepath.Dir(dir), err)
		}
		if own.Dev == above.Dev {
			break
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("folder of the segments: %w", err)
	}
	return nil
}
