// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelfs/modelfs/registry"
	"github.com/modelfs/modelfs/tensors/shm"
)

// Config is what a Cache is made of.
type Config struct {
	Store  *shm.Store
	Budget int64
	Policy registry.Policy
	TTL    time.Duration
	// MaxModels bounds how many models have anything resident; 0: no limit.
	MaxModels int
	// OriginAllowed serves the origin itself when there is no room; else the
	// open fails.
	OriginAllowed bool
	// Changed is told when a part became resident, was freed or failed to load.
	// It is called without locks and must not block.
	Changed func(Part)
	// Wake is told when Sweep should be called earlier than it last asked for.
	Wake func()
	Log  *slog.Logger
}

// Cache holds the resident parts of all models.
type Cache struct {
	store    *shm.Store
	registry *registry.Registry[Part, *shm.Segment]
	origin   bool
	log      *slog.Logger

	fallbacks atomic.Int64 // opens served from the origin for want of room
	progress  progressTable
	failed    failed
}

// New returns an empty cache.
func New(cfg Config) *Cache {
	c := &Cache{store: cfg.Store, origin: cfg.OriginAllowed, log: cfg.Log}
	c.progress.init()
	c.registry = registry.New(registry.Config[Part, *shm.Segment]{
		Budget:    cfg.Budget,
		MaxGroups: cfg.MaxModels,
		Policy:    cfg.Policy,
		TTL:       cfg.TTL,
		Group:     func(p Part) string { return p.Model },
		Apart:     func(group string) bool { return strings.HasPrefix(group, "/") }, // objects, sessions
		Evict:     func(_ Part, s *shm.Segment) error { return remove(s) },
		InUse:     func(_ Part, s *shm.Segment) bool { return inUse(s) },
		OnChange:  cfg.Changed,
		OnFail:    c.failed.add,
		Last:      func(p Part) bool { return p.Fixed },
		Wake:      cfg.Wake,
	})
	return c
}

// remove frees a segment that nobody uses. A mapping whose descriptor is closed
// is seen by the lease alone.
func remove(s *shm.Segment) error {
	err := s.Remove()
	if errors.Is(err, shm.ErrInUse) {
		return fmt.Errorf("mapped by a process: %w", registry.ErrBusy)
	}
	return err
}

// inUse says whether somebody maps a segment that nobody has open. When the
// lease cannot tell, the answer is yes: what is in doubt stays.
func inUse(s *shm.Segment) bool {
	used, err := s.InUse()
	return used || err != nil
}

// Registry gives the policy: pins, TTLs, counters, the groups.
func (c *Cache) Registry() *registry.Registry[Part, *shm.Segment] { return c.registry }

// Open returns a reference on the part's bytes: resident ones, or the origin's
// when there is no room and the configuration allows it. It waits for the load
// unless nonblock, which starts the load and returns ErrNotReady; when that has failed,
// the next one is told.
func (c *Cache) Open(ctx context.Context, r Recipe, nonblock bool) (Ref, error) {
	if r.Part.Fixed {
		return c.OpenResident(r.Part)
	}
	if nonblock {
		if lease, ok := c.registry.TryAcquire(r.Part); ok {
			return segmentRef{lease}, nil
		}
		if err := c.failed.take(r.Part); err != nil {
			return c.instead(ctx, r, err)
		}
		c.Start(r)
		return nil, ErrNotReady
	}
	lease, err := c.registry.Acquire(ctx, r.Part, charge(r.Size()), c.loader(r))
	if err != nil {
		return c.instead(ctx, r, err)
	}
	return segmentRef{lease}, nil
}

// instead is what an open gets whose load has failed.
func (c *Cache) instead(ctx context.Context, r Recipe, err error) (Ref, error) {
	if c.origin && NoRoom(err) {
		return c.openOrigin(ctx, r, err)
	}
	return nil, err
}

// Adopt makes a segment that exists already a part; its bytes were reserved as
// account. It is false if the part is there.
func (c *Cache) Adopt(p Part, s *shm.Segment, charged int64, account string) bool {
	return c.registry.Put(p, charged, s, account)
}

// OpenResident returns a reference on a part that is resident, or ErrStale. It is the
// way to what has no origin: that is never loaded.
func (c *Cache) OpenResident(p Part) (Ref, error) {
	lease, ok := c.registry.TryAcquire(p)
	if !ok {
		return nil, ErrStale
	}
	return segmentRef{lease}, nil
}

// Start loads a part in the background and keeps no reference.
func (c *Cache) Start(r Recipe) {
	if r.Part.Fixed {
		return
	}
	c.registry.Start(r.Part, charge(r.Size()), c.loader(r))
}

// Hold loads a part and keeps a reference on it until the result is closed; it
// never falls back to the origin.
func (c *Cache) Hold(ctx context.Context, r Recipe) (Ref, error) {
	if r.Part.Fixed {
		return c.OpenResident(r.Part)
	}
	lease, err := c.registry.Acquire(ctx, r.Part, charge(r.Size()), c.loader(r))
	if err != nil {
		return nil, err
	}
	return segmentRef{lease}, nil
}

// Fallbacks counts the opens that were served from the origin for want of room.
func (c *Cache) Fallbacks() int64 { return c.fallbacks.Load() }

func (c *Cache) openOrigin(ctx context.Context, r Recipe, why error) (Ref, error) {
	f, st, err := r.Origin.Open(ctx, r.Part.File)
	if err != nil {
		return nil, err
	}
	if st.Generation != r.Part.Gen || r.Tensor != nil {
		_ = f.Close()
		if r.Tensor != nil {
			return nil, why // stored with strides: the origin's bytes are not the tensor's
		}
		return nil, ErrStale
	}
	c.fallbacks.Add(1)
	c.log.Info("served from the origin", "part", r.Part.String(), "why", why)
	of := &originFile{file: f}
	if r.Part.Form == File {
		return of, nil
	}
	return &originRange{origin: of, header: r.Header, offset: r.Offset, length: r.Length}, nil
}

// NoRoom says whether an error is about memory: the budget's, the tmpfs's, a
// cgroup's or the machine's.
func NoRoom(err error) bool {
	return errors.Is(err, registry.ErrNoRoom) || errors.Is(err, shm.ErrNoSpace) || errors.Is(err, shm.ErrNoMemory)
}

// charge is what the tmpfs charges for a segment of n bytes: whole pages.
func charge(n int64) int64 {
	const page = 4096
	return (n + page - 1) / page * page
}

// Resident returns what a part's segment is charged, without counting as a use.
func (c *Cache) Resident(p Part) (bytes int64, ok bool) {
	s, _, ok := c.registry.Peek(p)
	if !ok {
		return 0, false
	}
	return s.Charged(), true
}

// LastUse is when a resident part was last opened or closed.
func (c *Cache) LastUse(p Part) (time.Time, bool) {
	_, used, ok := c.registry.Peek(p)
	return used, ok
}

// Mapped says whether a resident part that no handle is open on is open or
// mapped by some process, by the lease.
func (c *Cache) Mapped(p Part) bool {
	s, _, ok := c.registry.Peek(p)
	if !ok {
		return false
	}
	return inUse(s)
}
