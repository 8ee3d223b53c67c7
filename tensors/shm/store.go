// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
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
	// Dir is where the tmpfs is mounted; it is made, 0700. Empty: memfds, or a
	// folder for temporary files where there are none.
	Dir string
	// Size is the tmpfs's limit in bytes, more than 0.
	Size      int64
	HugePages Mode
}

// Info says what the store could get.
type Info struct {
	Backend   string // "tmpfs", "memfd" or "files"
	HugePages bool
	Leases    bool
	Reason    string // why something is missing
	// Prefix is random, not zero, and one per store: the upper half of the
	// inode numbers of everything that is made from its segments.
	Prefix uint32
}

// Store makes segments. It is safe for concurrent use.
type Store struct {
	cfg  Config
	info Info
	wake chan struct{} // what Events returns
	next atomic.Uint64 // begins the names of files: they are distinct

	// keeping counts descriptors that are open as long as their segments are there.
	keeping atomic.Int64

	// reserving is held from the look at what memory is left until a segment has
	// taken its share: of two loads that fit one by one, one is refused, and the
	// kernel kills nobody. A leaf.
	reserving sync.Mutex
	memory    memory // guarded by reserving

	mu     sync.RWMutex // before reserving
	place  place        // where the files are; used under mu
	closed bool         // place is gone; another store may be there by now
}

// Open makes the store. Everything that it has made is given back on an error.
func Open(cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, wake: make(chan struct{}, 1)}
	s.info.Prefix = prefix()
	if err := s.open(); err != nil {
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

// Info says what the store could get.
func (s *Store) Info() Info { return s.info }

// Dir is the folder of the segments, "" for memfds.
func (s *Store) Dir() string { return s.place.dir }

// Events wakes when some descriptor or mapping of a segment has gone. Events
// merge and the store's own closes cause some too: a hint, the lease decides. The
// kernel tells a moment before it would grant the lease: look a little later.
func (s *Store) Events() <-chan struct{} { return s.wake }

// Close takes the tmpfs away. Mappings that processes still hold stay valid, and
// so do segments that have a descriptor, until Remove: each keeps its memory. Those at
// rest are gone.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.place.close()
}

// Adopt makes a segment of a file that lies in the store's folder, or in a folder of
// the caller's where there is none, and that nobody can write any more. The name stays
// the caller's: unlink takes it away, under the lease, when the segment is removed.
func (s *Store) Adopt(name, path string, unlink func() error) (*Segment, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, fmt.Errorf("adopt %s: %w", name, os.ErrClosed)
	}
	file, leased, err := s.place.adopt(path)
	if err == nil {
		err = s.keep(file)
	}
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", name, err)
	}
	g := &Segment{store: s, name: name, unlink: unlink, leased: leased, file: file}
	st, err := file.Stat()
	if err == nil {
		g.size = st.Size()
		g.charged, err = blocks(file)
	}
	if err != nil {
		g.closeLocked()
		return nil, fmt.Errorf("adopt %s: %w", name, err)
	}
	return g, nil
}

// keep counts a descriptor that stays open, or closes it if that would be one too
// many: half of what the process may have is for everything else that it does.
func (s *Store) keep(f *os.File) error {
	if s.keeping.Add(1) <= descriptors()/2 {
		return nil
	}
	s.keeping.Add(-1)
	_ = f.Close()
	return ErrNoFiles
}

// openEntry opens a segment by its name in the store, read-only.
func (s *Store) openEntry(entry string) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return -1, os.ErrClosed
	}
	return s.place.open(entry)
}

// remove takes a file's name away. A store that is closed has none.
func (s *Store) remove(entry string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil
	}
	if err := s.place.remove(entry); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// entryName makes a file name that people recognise.
func (s *Store) entryName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-'
		}
		return r
	}, name)
	if len(name) > 100 {
		name = name[len(name)-100:]
	}
	return fmt.Sprintf("%d-%s", s.next.Add(1), name)
}
