// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package models

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/internal/users"
	"github.com/modelfs/modelfs/registry"
)

var (
	// ErrUnknown says that no source has a model of that name.
	ErrUnknown = errors.New("no such model")
	// ErrNoPrimary says that a model has no checkpoint, or several of its best kind,
	// so that "the model" does not say which one to load.
	ErrNoPrimary = errors.New("no primary checkpoint")
)

// Inodes tells whose file an inode of the mount is. Folder is set for folders,
// which are uses only while the folder is a lease.
type Inodes func(ino uint64) (model string, folder bool, ok bool)

// Models answers for the models of one mount.
type Models struct {
	Catalog *catalog.Catalog
	Cache   *cache.Cache
	users   *users.Scanner
	inodes  Inodes
	log     *slog.Logger

	mu    sync.Mutex
	holds map[string]int // open folder leases by model, guarded by mu
}

// New joins the three. inodes may be nil until the mount is there.
func New(c *catalog.Catalog, k *cache.Cache, u *users.Scanner, inodes Inodes, log *slog.Logger) *Models {
	return &Models{Catalog: c, Cache: k, users: u, inodes: inodes, log: log, holds: make(map[string]int)}
}

// primary returns the model's primary checkpoint.
func primary(ctx context.Context, model *catalog.Model) (*catalog.Checkpoint, error) {
	cps, err := model.Checkpoints(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(cps.All) == 0:
		return nil, fmt.Errorf("%s has no weight files: %w", model.Name(), ErrNoPrimary)
	case cps.Primary == nil:
		return nil, fmt.Errorf("%s has %d checkpoints, none of them alone of its kind: load one of its files: %w",
			model.Name(), len(cps.All), ErrNoPrimary)
	}
	return cps.Primary, nil
}

// recipes returns how the files of a checkpoint are loaded, as they are now.
func recipes(ctx context.Context, model *catalog.Model, cp *catalog.Checkpoint) ([]cache.Recipe, error) {
	out := make([]cache.Recipe, 0, len(cp.Files))
	for _, rel := range cp.Files {
		st, err := model.Stat(ctx, rel)
		if err != nil {
			return nil, err
		}
		out = append(out, cache.FileRecipe(model, rel, st.Generation))
	}
	return out, nil
}

// Load loads the primary checkpoint and returns when it is whole.
func (m *Models) Load(ctx context.Context, model *catalog.Model) error {
	h, err := m.hold(ctx, model)
	if err != nil {
		return err
	}
	h.Release()
	return nil
}

// Evict frees everything of a model. A close reaches the daemon late, so a model
// in use is looked at again for 100 ms before the answer is registry.ErrBusy.
func (m *Models) Evict(ctx context.Context, name string) error {
	const patience, step = 100 * time.Millisecond, 5 * time.Millisecond
	deadline := time.Now().Add(patience)
	for {
		err := m.Cache.Registry().EvictGroup(name)
		if !errors.Is(err, registry.ErrBusy) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(step):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// EvictIdle frees everything that nobody uses and no pin keeps, and says how
// many segments stayed because somebody uses them.
func (m *Models) EvictIdle() (freed, busy int) {
	return m.Cache.Registry().EvictIdle()
}
