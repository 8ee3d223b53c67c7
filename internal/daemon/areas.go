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

	"golang.org/x/sys/unix"

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

	forgetting sync.WaitGroup // of names of what was evicted

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
			Sealed: func(p, disk string, n int64, account string, unlink func() error) (scratch.Opener, error) {
				return d.areas.sealed(sealedFile{a.kind, a.name, p, disk, n, account, unlink})
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
func (a *areas) sealed(f sealedFile) (scratch.Opener, error) {
	part, ok, err := a.partOf(f)
	if !ok || err != nil {
		return nil, err
	}
	seg, err := a.d.store.Adopt(part.String(), f.disk, f.unlink)
	if err != nil {
		return nil, err
	}
	at := f.area + "/" + f.path
	a.mu.Lock()
	if old, ok := a.parts[at]; ok {
		delete(a.paths, old)
	}
	a.parts[at], a.paths[part] = part, at
	a.mu.Unlock()
	if !a.d.cache.Adopt(part, seg, f.charged, f.account) {
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

// sealedFile is what an area says of one.
type sealedFile struct {
	kind       scratch.Kind
	area, path string // path is below the area
	disk       string
	charged    int64
	account    string
	unlink     func() error
}

// partOf says what a sealed file is to the cache; false if it is none of its.
func (a *areas) partOf(f sealedFile) (part cache.Part, ok bool, err error) {
	ctx := context.Background()
	switch f.kind {
	case scratch.Models:
		a.d.catalog.Changed()
		m, rel, ok := a.d.tree.Published(ctx, f.path)
		if !ok || !m.IsWeight(rel) {
			return part, false, nil
		}
		gen, err := m.Generation(ctx, rel)
		if err != nil {
			return part, false, err
		}
		part = cache.FileRecipe(m, rel, gen).Part
		// Nobody can load it again: only the room that others need, or a TTL of its own,
		// takes it away.
		a.d.cache.Registry().SetTTL(part.Model, 0)
		return part, true, nil
	case scratch.Objects:
		var st unix.Stat_t
		if err := unix.Lstat(f.disk, &st); err != nil {
			return part, false, err
		}
		gen := sources.Generation{Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size}
		return cache.Part{Model: f.account, File: f.path, Gen: gen, Fixed: true}, true, nil
	}
	return part, false, nil
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
	// Not here: who asked for room may hold up those who hold the area's names.
	a.forgetting.Go(func() {
		if area == objectsArea {
			a.Objects.Forget(p)
		} else {
			a.Models.Forget(part.Model)
		}
	})
}

// Retry looks for files whose last user has gone.
func (a *areas) Retry() {
	for _, area := range []*scratch.Area{a.Models, a.Sessions, a.Objects} {
		area.Retry()
	}
}

// close gives the areas back; on the store's tmpfs they go with it.
func (a *areas) close() {
	a.forgetting.Wait()
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
