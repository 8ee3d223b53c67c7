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
	// HugePages says that files of whole huge pages get them.
	HugePages bool
	// Leases says that the kernel tells who has a file open or mapped. Else the
	// handles do.
	Leases bool
	// GiveAway says that files can be made somebody else's: the daemon is root.
	GiveAway bool
	// Watch asks for events of a folder, of whose files users go.
	Watch func(dir string) error
	// Sealed is told of a file that was sealed, by its path below the area, without
	// locks. What it returns opens the file from then on; nil: by the area itself.
	// Who frees the file calls unlink first, and Forget later.
	Sealed func(path, disk string, size int64, account string, unlink func() error) (Opener, error)
	// Removed is told that a sealed file lost its name, without locks.
	Removed func(path string)
	// Quota and TTL are those of a session that has none of its own; 0: no limit.
	Quota int64
	TTL   time.Duration
	Log   *slog.Logger
}

// Opener opens a sealed file: the cache's reference on its segment.
type Opener func(ctx context.Context) (Content, error)

// Content is what a handle reads; it satisfies fs.Mappable.
type Content interface {
	ReadAt(p []byte, off int64) (int, error)
	OpenBacking() (fd int, err error)
	Close()
}

// Area is one writable root.
type Area struct {
	cfg  Config
	root *Node

	mu      sync.Mutex
	next    uint64                // the last node's id
	open    map[*content]struct{} // written, not sealed; for Retry and Sweep
	gone    map[*content]struct{} // without a name, with users
	timer   *time.Timer
	closed  bool
	due     time.Time    // when timer comes
	charged atomic.Int64 // by all contents that are not sealed
}

// New makes an area, empty.
func New(cfg Config) (*Area, error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder for %s: %w", cfg.Dir, err)
	}
	a := &Area{cfg: cfg, open: make(map[*content]struct{}), gone: make(map[*content]struct{})}
	a.root = &Node{area: a, folder: true, kids: make(map[string]*Node)}
	if err := errors.Join(os.Chmod(cfg.Dir, cfg.Mode), a.watch(cfg.Dir)); err != nil {
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

// Bytes is what is charged for files that are not sealed, those without a name too.
func (a *Area) Bytes() int64 { return a.charged.Load() }

// Lingering is what of it belongs to files without a name that somebody uses.
func (a *Area) Lingering() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n int64
	for c := range a.gone {
		n += c.charge.Load()
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
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: %w", ErrNotExist, err)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", ErrExist, err)
	}
	return err
}
