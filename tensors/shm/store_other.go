// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux || modelfs_portable

package shm

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
)

// place is a folder of temporary files. Nobody knows here who maps one: there
// are no leases and no events, and room is not looked for before it is used.
type place struct {
	dir string // segments' own; removed with all that is in it
	own string // the folder above, if this store made it
}

// segmentDir is the folder below Config.Dir that is the store's own.
const segmentDir = "modelfs-segments"

func (s *Store) open() error {
	s.info.Backend = "files"
	s.info.Reason = "leases and huge pages need Linux"
	dir := s.cfg.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "modelfs-"); err != nil {
			return fmt.Errorf("folder of the segments: %w", err)
		}
	}
	s.place = place{dir: filepath.Join(dir, segmentDir), own: dir}
	if err := os.MkdirAll(s.place.dir, 0o700); err != nil {
		return fmt.Errorf("folder of the segments: %w", err)
	}
	return nil
}

func (p *place) create(entry string) (*os.File, string, error) {
	f, err := os.OpenFile(filepath.Join(p.dir, entry), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return f, entry, err
}

func (s *Store) reserve(f *os.File, size int64) error { return f.Truncate(size) }

// memory is not looked at here.
type memory struct{}

// Extend makes a file of the caller's larger. Its memory is taken when it is written.
func (s *Store) Extend(f *os.File, _, to int64) error { return f.Truncate(to) }

func (p *place) seal(f *os.File, _ string) (*os.File, error) {
	if err := f.Chmod(0o400); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	return os.Open(f.Name())
}

func blocks(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return roundUp(st.Size()), nil
}

func (p *place) open(entry string) (int, error) {
	fd, err := syscall.Open(filepath.Join(p.dir, entry), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	return int(fd), err
}

// leases is false: see place.
func (p *place) leases(string) bool { return false }

// descriptors is without a limit that anybody knows.
func descriptors() int64 { return math.MaxInt64 }

func openAgain(f *os.File) (int, error) {
	fd, err := syscall.Open(f.Name(), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	return int(fd), err
}

func (g *Segment) inUseLocked() (bool, error) { return false, nil }

// unlinkLocked closes the file first: Windows removes none that is open.
func (g *Segment) unlinkLocked() error {
	path := g.file.Name()
	_ = g.file.Close()
	err := g.loseName()
	if err == nil {
		return nil
	}
	if f, err := os.Open(path); err == nil {
		g.file = f
	}
	return fmt.Errorf("remove segment of %s: %w: %w", g.name, ErrInUse, err)
}

func (p *place) adopt(path string) (f *os.File, leased bool, err error) {
	f, err = os.Open(path)
	return f, false, err
}

// Watch does nothing: there are no events here.
func (s *Store) Watch(string) error { return nil }

func (p *place) remove(entry string) error { return os.Remove(filepath.Join(p.dir, entry)) }

func (p *place) close() error { return CleanStale(p.own) }

// CleanStale takes away what a killed process left at dir. Processes that still
// map its segments go on, where the system lets a file in use be removed.
func CleanStale(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, segmentDir)); err != nil {
		return fmt.Errorf("folder of the segments: %w", err)
	}
	_ = os.Remove(dir) // stays where it holds something else
	return nil
}

// Available is how many bytes this process could take: nothing here tells.
func Available() int64 { return 1 << 62 }

// reader reads an origin.
type reader struct{ origin *os.File }

func openOrigin(origin *os.File, _ bool) *reader { return &reader{origin} }

func (r *reader) close() {}

func (r *reader) readAt(p []byte, off int64) (int, error) { return r.origin.ReadAt(p, off) }

func (r *reader) direct() bool { return false }

func newBuffer(n int64) ([]byte, error) { return make([]byte, n), nil }

func freeBuffer([]byte) {}

// write copies p into the segment, by the mapping: a write beside a mapping is not
// coherent with it everywhere.
func (b *Builder) write(p []byte, at int64) error {
	copy(b.bytes[at:], p)
	return nil
}

func (r *reader) read(p []byte, need, off int64) error {
	n, err := r.origin.ReadAt(p[:need], off)
	if int64(n) == need {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return short(r.origin, off, need, int64(n))
	}
	return fmt.Errorf("read %s: %w", r.origin.Name(), err)
}
