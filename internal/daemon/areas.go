// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/scratch"
	"github.com/modelfs/modelfs/internal/tree"
	"github.com/modelfs/modelfs/sources"
)

// areas are where processes write, and what of it the cache has.
type areas struct {
	d   *Daemon
	dir string
	tree.Areas

	mu    sync.Mutex
	parts map[string]cache.Part // of sealed files, by the path below the mount
	paths map[cache.Part]string
}

// The areas by their folder in the mount.
const (
	modelsArea   = "models"
	sessionsArea = "sessions"
	objectsArea  = "objects"
)

// areaDir is where the areas' files are: on the store's tmpfs; without one, on the
// machine's, for this user and mount.
func (d *Daemon) areaDir() (string, error) {
	if dir := d.store.Dir(); dir != "" {
		return filepath.Join(dir, "written"), nil
	}
	dir := filepath.Join("/dev/shm", fmt.Sprintf("modelfs-%d-%s", os.Geteuid(), placeName(d.cfg.MountPoint)))
	if err := os.RemoveAll(dir); err != nil { // of a daemon that was killed: the mount point is locked
		return "", fmt.Errorf("folder for what is written: %w", err)
	}
	return dir, os.Mkdir(dir, 0o700)
}

// openAreas makes the areas; the cache need not be there yet.
func (d *Daemon) openAreas() error {
	dir, err := d.areaDir()
	if err != nil {
		return err
	}
	d.areas = &areas{d: d, dir: dir, parts: make(map[string]cache.Part), paths: make(map[cache.Part]string)}
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
			Kind: a.kind, Dir: filepath.Join(dir, a.name), Mode: a.mode, Room: room{d},
			HugePages: info.HugePages, Leases: info.Leases, GiveAway: os.Geteuid() == 0, Watch: d.store.Watch,
			Quota: d.cfg.SessionQuota, TTL: d.cfg.SessionTTL, Log: d.cfg.Log,
			Sealed: func(p, disk string, n int64, account string) (scratch.Opener, error) {
				return d.areas.sealed(a.kind, a.name, p, disk, n, account)
			},
			Removed: func(p string) { d.areas.removed(a.name + "/" + p) },
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

func (r room) Reserve(ctx context.Context, name string, bytes int64) error {
	return r.d.cache.Registry().Reserve(ctx, name, bytes)
}

func (r room) Unreserve(name string, bytes int64) { r.d.cache.Registry().Unreserve(name, bytes) }

// sealed gives a weight file of a published model, or an object, to the cache. Other
// files of a model stay with the area.
func (a *areas) sealed(kind scratch.Kind, area, p, disk string, charged int64, account string) (scratch.Opener, error) {
	ctx := context.Background()
	var part cache.Part
	switch kind {
	case scratch.Models:
		a.d.catalog.Changed()
		m, rel, ok := a.d.tree.Published(ctx, p)
		if !ok || !m.IsWeight(rel) {
			return nil, nil
		}
		gen, err := m.Generation(ctx, rel)
		if err != nil {
			return nil, err
		}
		part = cache.FileRecipe(m, rel, gen).Part
		// Nobody can load it again: only the room that others need, or a TTL of its own,
		// takes it away.
		a.d.cache.Registry().SetTTL(part.Model, 0)
	case scratch.Objects:
		part = cache.Part{Model: account, Fixed: true, File: disk}
		a.d.cache.Registry().SetTTL(part.Model, a.d.cfg.TTL)
	default:
		return nil, nil
	}
	seg, err := a.d.store.Adopt(part.String(), disk)
	if err != nil {
		return nil, err
	}
	at := area + "/" + p
	a.mu.Lock()
	if old, ok := a.parts[at]; ok {
		delete(a.paths, old)
	}
	a.parts[at], a.paths[part] = part, at
	a.mu.Unlock()
	if !a.d.cache.Adopt(part, seg, charged, account) {
		return nil, errors.New("another one has its place")
	}
	return func(context.Context) (scratch.Content, error) {
		ref, err := a.d.cache.OpenResident(part)
		if err != nil {
			return nil, err
		}
		return ref.(scratch.Content), nil
	}, nil
}

// removed lets go of a sealed file that lost its name.
func (a *areas) removed(at string) {
	a.mu.Lock()
	part, ok := a.parts[at]
	delete(a.parts, at)
	delete(a.paths, part)
	a.mu.Unlock()
	if !ok {
		return
	}
	for _, p := range append(a.d.cache.Registry().Keys(part.Model), part) {
		if p.File == part.File { // its tensors too
			a.d.cache.Registry().Doom(p)
		}
	}
	a.d.catalog.Changed()
}

// freed takes away the name of what the cache has evicted; of a model, all of it.
func (a *areas) freed(part cache.Part) {
	if !part.Fixed || part.Tensor != "" {
		return
	}
	if _, resident := a.d.cache.Resident(part); resident {
		return
	}
	a.mu.Lock()
	at, ok := a.paths[part]
	a.mu.Unlock()
	if !ok {
		return
	}
	area, p, _ := strings.Cut(at, "/")
	if area == objectsArea {
		a.Objects.Forget(p)
		return
	}
	a.Models.Forget(part.Model)
}

// Retry looks for files whose last user has gone.
func (a *areas) Retry() {
	for _, area := range []*scratch.Area{a.Models, a.Sessions, a.Objects} {
		area.Retry()
	}
}

// close gives the areas back; on the store's tmpfs they go with it.
func (a *areas) close() {
	for _, area := range []*scratch.Area{a.Models, a.Sessions, a.Objects} {
		if area != nil {
			area.Close()
		}
	}
	if a.d.store.Dir() == "" {
		_ = os.RemoveAll(a.dir)
	}
}

// lingering is what of the areas is in use without a name.
func (a *areas) lingering() int64 {
	return a.Models.Lingering() + a.Sessions.Lingering() + a.Objects.Lingering()
}
