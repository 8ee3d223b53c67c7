// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Builder is a segment under construction. It is used by one goroutine at a
// time, but for Fill, which makes its own.
type Builder struct {
	store *Store
	name  string // for messages
	file  string // in the tmpfs, "" for a memfd
	fd    int
	size  int64
	bytes []byte
	err   error // why Bytes could not map
}

// Create reserves a segment of size bytes. name is for people.
func (s *Store) Create(name string, size int64) (*Builder, error) {
	if err := available(size); err != nil {
		return nil, fmt.Errorf("reserve %d bytes for %s: %w", size, name, err)
	}
	b := &Builder{store: s, name: name, size: size}
	var err error
	if s.cfg.Dir == "" {
		b.fd, err = unix.MemfdCreate("modelfs:"+clean(name), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	} else {
		b.file = fmt.Sprintf("%d-%s", s.next.Add(1), clean(name))
		b.fd, err = unix.Open(filepath.Join(s.cfg.Dir, b.file), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("create segment for %s: %w", name, err)
	}
	if size == 0 {
		return b, nil
	}
	if err := unix.Fallocate(b.fd, 0, 0, size); err != nil {
		b.Discard()
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
			return nil, fmt.Errorf("reserve %d bytes for %s: %w", size, name, ErrNoSpace)
		}
		return nil, fmt.Errorf("reserve %d bytes for %s: %w", size, name, err)
	}
	return b, nil
}

// clean makes a readable file name.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' || r > '~' {
			return '-'
		}
		return r
	}, name)
	if len(name) > 100 {
		name = name[len(name)-100:]
	}
	return name
}

// Bytes is the segment's memory, writable, valid until Seal or Discard. It is
// nil for an empty segment or when the mapping failed, which Seal reports.
func (b *Builder) Bytes() []byte {
	if b.bytes == nil && b.size > 0 && b.err == nil {
		// A whole number of pages: a direct read of the tail fills up to the end
		// of the last one.
		m, err := unix.Mmap(b.fd, 0, int(roundUp(b.size)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			b.err = fmt.Errorf("map segment of %s: %w", b.name, err)
			return nil
		}
		_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // where it is not the tmpfs's own choice
		b.bytes = m
	}
	return b.bytes[:min(int64(len(b.bytes)), b.size)]
}

const pageSize = 4096

func roundUp(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }

func (b *Builder) unmap() {
	if b.bytes != nil {
		_ = unix.Munmap(b.bytes[:cap(b.bytes)])
		b.bytes = nil
	}
}

// Seal ends the writing and returns the segment.
func (b *Builder) Seal() (*Segment, error) {
	b.unmap()
	if b.err != nil {
		b.Discard()
		return nil, b.err
	}
	seg := &Segment{store: b.store, name: b.name, file: b.file, size: b.size}
	var err error
	if b.file == "" {
		_, err = unix.FcntlInt(uintptr(b.fd), unix.F_ADD_SEALS,
			unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
		if err == nil {
			seg.fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", b.fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
	} else {
		seg.fd, err = unix.Openat(b.store.ro, b.file, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		b.Discard()
		return nil, fmt.Errorf("seal segment of %s: %w", b.name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(seg.fd, &st); err != nil {
		_ = unix.Close(seg.fd)
		b.Discard()
		return nil, fmt.Errorf("seal segment of %s: %w", b.name, err)
	}
	seg.charged = st.Blocks * 512
	_ = unix.Close(b.fd)
	b.fd = -1
	return seg, nil
}

// Discard gives everything back. It may be called again, and after Seal, to no
// effect.
func (b *Builder) Discard() {
	b.unmap()
	if b.fd < 0 {
		return
	}
	if b.file != "" {
		_ = os.Remove(filepath.Join(b.store.cfg.Dir, b.file))
	}
	_ = unix.Close(b.fd)
	b.fd = -1
}
