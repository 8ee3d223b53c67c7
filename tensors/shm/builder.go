// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"fmt"
	"os"
	"sync"
)

// Builder is a segment under construction. It is used by one goroutine at a
// time, but for Fill, which makes its own.
type Builder struct {
	store *Store
	name  string   // for messages
	entry string   // the file's name in the store's folder, "" for a memfd
	file  *os.File // writable; nil once sealed or discarded
	size  int64
	bytes []byte // the mapping
	err   error  // why Bytes could not map

	writing sync.Mutex // a Fill's write to file
}

// Create reserves a segment of size bytes. name is for people. It is ErrNoSpace
// or ErrNoMemory when there is no room.
func (s *Store) Create(name string, size int64) (*Builder, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.closed:
		return nil, fmt.Errorf("create segment for %s: %w", name, os.ErrClosed)
	case size < 0:
		return nil, fmt.Errorf("create segment for %s of %d bytes: %w", name, size, os.ErrInvalid)
	}
	file, entry, err := s.place.create(s.entryName(name))
	if err == nil && entry == "" {
		err = s.keep(file)
	}
	if err != nil {
		return nil, fmt.Errorf("create segment for %s: %w", name, err)
	}
	b := &Builder{store: s, name: name, entry: entry, file: file, size: size}
	if err := s.reserve(file, size); err != nil {
		b.close()
		if entry != "" {
			_ = s.place.remove(entry)
		}
		return nil, fmt.Errorf("reserve %d bytes for %s: %w", size, name, err)
	}
	return b, nil
}

// Bytes is the segment's memory, writable, valid until Seal or Discard. It is
// nil for an empty segment, after Seal or Discard, and when the mapping failed,
// which Seal reports.
func (b *Builder) Bytes() []byte {
	if b.bytes == nil && b.size > 0 && b.file != nil && b.err == nil {
		b.bytes, b.err = mapFile(b.file, b.size)
		if b.err != nil {
			b.err = fmt.Errorf("map segment of %s: %w", b.name, b.err)
		}
	}
	return b.bytes
}

const pageSize = 4096

func roundUp(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }

func (b *Builder) unmap() {
	if b.bytes != nil {
		unmapFile(b.bytes)
		b.bytes = nil
	}
}

// Seal ends the writing and returns the segment. On an error the builder is
// discarded.
func (b *Builder) Seal() (*Segment, error) {
	if b.file == nil {
		return nil, fmt.Errorf("seal segment of %s: %w", b.name, os.ErrClosed)
	}
	if b.err != nil {
		b.Discard()
		return nil, b.err
	}
	b.unmap()
	g, err := b.reopen()
	if err != nil {
		b.Discard()
		return nil, fmt.Errorf("seal segment of %s: %w", b.name, err)
	}
	_ = b.file.Close()
	b.file = nil
	return g, nil
}

// reopen makes the segment from a read-only descriptor.
func (b *Builder) reopen() (*Segment, error) {
	b.store.mu.RLock()
	defer b.store.mu.RUnlock()
	if b.store.closed {
		return nil, os.ErrClosed
	}
	file, err := b.store.place.seal(b.file, b.entry)
	if err != nil {
		return nil, err
	}
	charged, err := blocks(file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	g := &Segment{store: b.store, name: b.name, entry: b.entry, leased: b.store.place.leases(b.entry), size: b.size, charged: charged, file: file}
	if g.rests() {
		_ = file.Close()
		g.file = nil
	}
	return g, nil
}

// Discard gives everything back. It may be called again, and after Seal, to no
// effect.
func (b *Builder) Discard() {
	b.unmap()
	if b.file == nil {
		return
	}
	b.close()
	if b.entry != "" {
		_ = b.store.remove(b.entry)
	}
}

// close ends a builder that made no segment.
func (b *Builder) close() {
	_ = b.file.Close()
	b.file = nil
	if b.entry == "" {
		b.store.keeping.Add(-1)
	}
}
