// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// origin is the checkpoint that FILE|MODEL names: one on disk, or one of a mount.
type origin struct {
	name  string // the model's
	model *catalog.Model
	// checkpoint is on disk; nil for one of a mount.
	checkpoint *catalog.Checkpoint
	// mount has it, in folder: its index.json, which is index, and its tensors by
	// their paths.
	mount, folder string
	index         []byte
	// path is what inspect --check takes; empty for a model of the usual sources.
	path string
}

// find looks up what was named: a path that exists, a model of the mount, or one of
// the usual sources.
func (p *program) find(c *cli.Context, name string) (*origin, error) {
	if _, err := os.Stat(name); err == nil {
		return findPath(c.Context, name)
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return nil, err
	}
	mount, mountErr := p.mount(c)
	if mountErr == nil {
		t, err := p.resolve(mount, name)
		if err == nil {
			return findInMount(c.Context, t)
		}
		mountErr = err
	}
	o, err := p.findInSources(c.Context, name)
	switch {
	case o != nil || err != nil:
	case errors.Is(mountErr, errDenied):
		err = mountErr
	default:
		err = fmt.Errorf("no such file, and no such model: %s (in a mount: %w)", name, mountErr)
	}
	return o, err
}

func findInMount(ctx context.Context, t target) (*origin, error) {
	folder := filepath.Join(t.mount, "tensors", t.model, t.file)
	index, err := os.ReadFile(filepath.Join(folder, tensors.IndexName))
	switch {
	case errors.Is(err, fs.ErrNotExist) && t.file != "":
		return findPath(ctx, t.path()) // the primary one's file, or a shard
	case err != nil:
		return nil, explainTensors(t.mount, t.model, err)
	case ofNone(index):
		return nil, withoutPrimary(t)
	}
	return &origin{name: t.model, mount: t.mount, folder: folder, index: index, path: t.path()}, nil
}

// ofNone says whether an index.json is that of a model without a primary checkpoint:
// of no generation.
func ofNone(index []byte) bool {
	var of struct{ Generation, Error *string }
	return json.Unmarshal(index, &of) == nil && of.Generation != nil && *of.Generation == "" && of.Error == nil
}

// hasNone says whether a mount's model has no primary checkpoint.
func hasNone(t target) bool {
	index, err := os.ReadFile(filepath.Join(t.mount, "tensors", t.model, tensors.IndexName))
	return err == nil && ofNone(index)
}

// withoutPrimary is the error of a mount's model that does not say which of its
// checkpoints is meant. Those that can be named have folders in tensors/.
func withoutPrimary(t target) error {
	var names []string
	top := filepath.Join(t.mount, "tensors", t.model)
	err := filepath.WalkDir(top, func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !e.IsDir() || at == top:
			return nil
		}
		if _, err := os.Stat(filepath.Join(at, tensors.IndexName)); err != nil {
			return nil // a folder that leads to checkpoints
		}
		names = append(names, strings.TrimPrefix(at, top+"/"))
		return fs.SkipDir
	})
	if err != nil {
		return explainTensors(t.mount, t.model, err)
	}
	return errNone(t.model, names)
}

// errNone says which checkpoints there are where none comes first.
func errNone(model string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("%s has no weight files", model)
	}
	return fmt.Errorf("%s has %s and none that comes first, name one: %s", model, plural(len(names), "checkpoint"), listed(names))
}

// findPath is a weight file, or a model's folder.
func findPath(ctx context.Context, path string) (*origin, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	cat, err := open(abs)
	if err != nil {
		return nil, err
	}
	found := cat.Models(ctx)
	whole := len(found) == 1 && found[0].Name() == filepath.Base(abs)
	if st, err := os.Stat(abs); !whole && err == nil && st.IsDir() {
		// A folder of weights without config.json is a model of the folder above.
		if above, err := open(filepath.Dir(abs)); err == nil {
			if m, ok := above.Lookup(ctx, filepath.Base(abs)); ok {
				return originOf(ctx, m, "", path)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%s holds no weight file of a known format", path)
	case 1:
		return originOf(ctx, found[0], "", path)
	}
	names := make([]string, len(found))
	for i, m := range found {
		names[i] = m.Name()
	}
	return nil, fmt.Errorf("%s holds %d models, name one of them: %s", path, len(found), listed(names))
}

// findInSources looks a model up in the usual places; nil where none has it.
func (p *program) findInSources(ctx context.Context, name string) (*origin, error) {
	places, _ := sources.Defaults(p.getenv)
	if len(places) == 0 || !filepath.IsLocal(name) {
		return nil, nil
	}
	cat, err := open(places...)
	if err != nil {
		return nil, err
	}
	for model, file := filepath.Clean(name), ""; model != "."; model, file = filepath.Dir(model), filepath.Join(filepath.Base(model), file) {
		if m, ok := cat.Lookup(ctx, model); ok {
			return originOf(ctx, m, file, "")
		}
	}
	return nil, nil
}

func open(places ...string) (*catalog.Catalog, error) {
	var list []sources.Source
	for _, place := range places {
		src, err := sources.Resolve(place, nil)
		if err != nil {
			return nil, err
		}
		list = append(list, src)
	}
	return catalog.New(list, slog.New(slog.DiscardHandler)), nil
}

// originOf is a model's checkpoint: the one with a file, or the primary one.
func originOf(ctx context.Context, m *catalog.Model, file, path string) (*origin, error) {
	all, err := m.Checkpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name(), err)
	}
	names := make([]string, len(all.All))
	for i, cp := range all.All {
		names[i] = cp.Name
	}
	cp := all.Primary
	if file != "" {
		var ok bool
		if cp, ok = all.Named(file); !ok {
			return nil, fmt.Errorf("%s has no checkpoint %s; it has %s", m.Name(), file, listed(names))
		}
	}
	if cp == nil {
		return nil, errNone(m.Name(), names)
	}
	return &origin{name: m.Name(), model: m, checkpoint: cp, path: path}, nil
}

// listed writes the first of many names.
func listed(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
