// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/modelfs/modelfs/internal/scratch"
	"github.com/modelfs/modelfs/internal/tree"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors/shm"
)

// areas are where processes write.
type areas struct {
	d   *Daemon
	own *os.File // where they lie, on the machine's tmpfs; nil on the store's
	tree.Areas
	kept keep // what of them the cache has
}

// The areas by their folder in the mount.
const (
	modelsArea   = "models"
	sessionsArea = "sessions"
	objectsArea  = "objects"
)

// openAreas makes the areas; the cache need not be there yet.
func (d *Daemon) openAreas() error {
	d.areas = &areas{d: d}
	d.areas.kept.init(d)
	dir := d.store.Dir()
	if dir == "" {
		own, err := makeShared(d.cfg.MountPoint)
		if err != nil {
			return err
		}
		d.areas.own, dir = own, own.Name()
	}
	dir = filepath.Join(dir, "written")
	info := d.store.Info()
	for _, a := range []struct {
		kind scratch.Kind
		name string
		mode os.FileMode
		to   **scratch.Area
	}{
		{scratch.Models, modelsArea, 0o755, &d.areas.Models},
		{scratch.Sessions, sessionsArea, 0o755, &d.areas.Sessions},
		{scratch.Objects, objectsArea, 0o755, &d.areas.Objects},
	} {
		cfg := scratch.Config{
			Kind: a.kind, Dir: filepath.Join(dir, a.name), Mode: a.mode, Room: room{d}, Extend: d.extend,
			HugePages: info.HugePages, Leases: info.Leases, GiveAway: os.Geteuid() == 0, Watch: d.store.Watch,
			Quota: d.cfg.SessionQuota, TTL: d.cfg.SessionTTL, Log: d.cfg.Log,
			Sealed:  func(f scratch.File) (scratch.Keeper, error) { return d.areas.kept.sealed(a.kind, f) },
			Removed: func(p string) { d.areas.kept.removed(a.kind, p) },
			Gone:    func(p string) { d.gone(a.name + "/" + p) },
		}
		area, err := scratch.New(cfg)
		if err != nil {
			return err
		}
		*a.to = area
	}
	d.sources = append(d.sources, sources.Published(filepath.Join(dir, modelsArea)))
	return nil
}

// room is the budget, which is there before anybody writes.
type room struct{ d *Daemon }

// Reserve takes room for what is written, and not from what was sealed of the same
// model: half a model is worth nothing.
func (r room) Reserve(ctx context.Context, name string, bytes int64) error {
	reg := r.d.cache.Registry()
	defer reg.Guard(r.d.areas.kept.of(name)...)()
	return reg.Reserve(ctx, name, bytes)
}

func (r room) Unreserve(name string, bytes int64) { r.d.cache.Registry().Unreserve(name, bytes) }

// extend takes memory for what is written, as for a segment.
func (d *Daemon) extend(f *os.File, from, to int64) error {
	err := d.store.Extend(f, from, to)
	if errors.Is(err, shm.ErrNoSpace) || errors.Is(err, shm.ErrNoMemory) {
		return fmt.Errorf("%w: %w", scratch.ErrNoSpace, err)
	}
	return err
}

// Retry looks for files whose last user has gone.
func (a *areas) Retry() {
	for _, area := range []*scratch.Area{a.Models, a.Sessions, a.Objects} {
		area.Retry()
	}
}

// close gives the areas back; on the store's tmpfs they go with it.
func (a *areas) close() {
	a.kept.forgetting.Wait()
	for _, area := range []*scratch.Area{a.Models, a.Sessions, a.Objects} {
		if area != nil {
			area.Close()
		}
	}
	if a.own != nil {
		_ = os.RemoveAll(a.own.Name())
		_ = a.own.Close()
	}
}

// lingering is what of the areas is in use without a name.
func (a *areas) lingering() int64 {
	return a.Models.Lingering() + a.Sessions.Lingering() + a.Objects.Lingering()
}
