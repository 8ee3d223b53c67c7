// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says which rules hold in an area.
type Kind int

// The kinds, each named after its folder in the mount.
const (
	Models   Kind = iota // published models: sealed, evicted last
	Sessions             // written until they go: quota and TTL
	Objects              // sealed as models are, each user's own
)

// Room is where the budget is kept: registry.Registry.
type Room interface {
	Reserve(ctx context.Context, name string, bytes int64) error
	Unreserve(name string, bytes int64)
}

// Config is what an Area is made of.
type Config struct {
	Kind Kind
	// Dir is the area's folder on the tmpfs; it is made, with all that New needs.
	Dir  string
	Mode os.FileMode // of the area's root
	Room Room
	// Extend makes a file of the tmpfs larger, from so many bytes to so many, and takes
	// the memory for it.
	Extend func(f *os.File, from, to int64) error
	// HugePages says that files of whole huge pages get them.
	HugePages bool
	// Leases says that the kernel tells who has a file open or mapped. Else the
	// handles do.
	Leases bool
	// GiveAway says that files can be made somebody else's: the daemon is root.
	GiveAway bool
	// Watch asks for events of a folder, of whose files users go.
	Watch func(dir string) error
	// Sealed is told of a file that was sealed, without locks. Whom it returns has the
	// bytes and their room from then on; nil: the area.
	Sealed func(File) (Keeper, error)
	// Removed is told that a sealed file lost its name, by its path below the area,
	// without locks. The file that had the name is gone then; another one may have it.
	Removed func(path string)
	// Gone is told of a name that the area itself took away, by its path below the
	// area, without locks: the kernel still believes in it.
	Gone func(path string)
	// Quota and TTL are those of a session that has none of its own; 0: no limit.
	Quota int64
	TTL   time.Duration
	Log   *slog.Logger
}

// File is one that was sealed.
type File struct {
	Path    string // below the area
	Disk    string // where it lies
	Charged int64  // what is reserved for it
	Account string // by whom
	// Unlink takes the name away, if it is there; who frees the bytes calls it first.
	Unlink func() error
}

// Keeper has the bytes of a sealed file: the cache.
type Keeper interface {
	Open(ctx context.Context) (Content, error)
	// Lost says that the file lost its name, without locks; it may have been freed.
	Lost()
}

// Content is what a handle reads; it satisfies fs.Mappable.
type Content interface {
	ReadAt(p []byte, off int64) (int, error)
	OpenBacking() (fd int, err error)
	Close()
}

// Area is one writable root.
type Area struct {
	cfg     Config
	root    *Node
	pending string // the folder of what is not sealed, by number

	mu      sync.Mutex
	next    uint64                // the last node's id
	open    map[*content]struct{} // with a name, not sealed
	busy    map[*content]struct{} // that somebody has open, or may have mapped
	timer   *time.Timer
	closed  bool
	due     time.Time    // when timer comes
	charged atomic.Int64 // by all contents that are not the cache's
}

// New makes an area, empty.
func New(cfg Config) (*Area, error) {
	a := &Area{
		cfg: cfg, pending: cfg.Dir + ".unsealed",
		open: make(map[*content]struct{}), busy: make(map[*content]struct{}),
	}
	a.root = &Node{area: a, folder: true, mode: uint32(cfg.Mode), kids: make(map[string]*Node)}
	for _, dir := range []string{cfg.Dir, a.pending} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("folder for %s: %w", cfg.Dir, err)
		}
	}
	if err := errors.Join(os.Chmod(cfg.Dir, cfg.Mode), a.watch(a.pending)); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Area) watch(dir string) error {
	if a.cfg.Watch == nil {
		return nil
	}
	return a.cfg.Watch(dir)
}

// Root is the area's top folder.
func (a *Area) Root() *Node { return a.root }

// Bytes is what is charged for files that are not the cache's, those without a name
// too.
func (a *Area) Bytes() int64 { return a.charged.Load() }

// Lingering is what of it belongs to files without a name that somebody uses.
func (a *Area) Lingering() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n int64
	for c := range a.busy {
		if c.lost {
			n += c.charge.Load()
		}
	}
	return n
}

// Close stops the clock. The files go with the tmpfs.
func (a *Area) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// temporary says whether a path has a name that begins with a dot.
func temporary(path string) bool {
	return strings.HasPrefix(path, ".") || strings.Contains(path, "/.")
}

// translate makes the kernel's errors this package's.
func translate(err error) error {
	for _, row := range []struct{ kernel, own error }{
		{unix.ENOSPC, ErrNoSpace}, {unix.ENOMEM, ErrNoSpace},
		{unix.EMFILE, ErrNoFiles}, {unix.ENFILE, ErrNoFiles},
		{unix.ENOENT, ErrNotExist}, {unix.EEXIST, ErrExist}, {unix.ENAMETOOLONG, ErrName},
	} {
		if errors.Is(err, row.kernel) {
			return fmt.Errorf("%w: %w", row.own, err)
		}
	}
	return err
}
