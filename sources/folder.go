// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/modelfs/modelfs/loaders"
)

// maxDepth bounds how deep below a source a model may lie, and with it what a
// loop of symlinked folders can cost.
const maxDepth = 12

// fixed is the folder of a model whose place does not change.
func fixed(dir string) func() (string, error) { return func() (string, error) { return dir, nil } }

// folder is a tree of folders with models in it.
type folder struct{ spec, dir string }

func (s *folder) Spec() string { return s.spec }

func (s *folder) Kind() string { return "folder" }

func (s *folder) Scan(ctx context.Context) ([]*Model, error) {
	entries, err := list(s.dir)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", s.spec, err)
	}
	for _, e := range entries {
		if !e.Folder && isModelFile(e.Name) { // it became one model since
			return (&single{s.spec, s.dir}).Scan(ctx)
		}
	}
	models := loose(s.dir, entries)
	for _, e := range entries {
		if e.Folder {
			models = s.descend(ctx, e.Name, 1, models)
		}
	}
	slices.SortStableFunc(models, func(a, b *Model) int { return strings.Compare(a.name, b.name) })
	return models, ctx.Err()
}

// descend looks for the topmost folders that are models. Hidden folders hold
// caches and version control, not models.
func (s *folder) descend(ctx context.Context, rel string, depth int, found []*Model) []*Model {
	if depth > maxDepth || strings.HasPrefix(path.Base(rel), ".") || ctx.Err() != nil {
		return found
	}
	dir := path.Join(s.dir, rel)
	entries, err := list(dir)
	if err != nil {
		return found
	}
	for _, e := range entries {
		if !e.Folder && (isModelFile(e.Name) || isWeight(e.Name)) {
			return append(found, &Model{name: rel, folder: fixed(dir)})
		}
	}
	for _, e := range entries {
		if e.Folder {
			found = s.descend(ctx, path.Join(rel, e.Name), depth+1, found)
		}
	}
	return found
}

func isWeight(name string) bool {
	_, ok := loaders.Of(name)
	return ok
}

// shardSuffix is what tells the shards of one checkpoint apart.
var shardSuffix = regexp.MustCompile(`-\d{5}-of-\d{5}$`)

// looseName is the model that a weight file in a source folder itself is: its
// name without extension and shard number.
func looseName(file string) string {
	return shardSuffix.ReplaceAllString(strings.TrimSuffix(file, path.Ext(file)), "")
}

// loose makes the models of the weight files that lie in a source folder itself.
// Files of one name (shards, formats) are one model, with the index of shards if
// there is one.
func loose(dir string, entries []Entry) []*Model {
	byName := make(map[string]*Model)
	var models []*Model
	for _, e := range entries {
		if e.Folder || !isWeight(e.Name) {
			continue
		}
		name := looseName(e.Name)
		m := byName[name]
		if m == nil {
			m = &Model{name: name, folder: fixed(dir)}
			byName[name] = m
			models = append(models, m)
		}
		m.only = append(m.only, e.Name)
	}
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name, ".index.json")
		if m := byName[looseName(base)]; ok && m != nil && !e.Folder {
			m.only = append(m.only, e.Name)
		}
	}
	return models
}

// single is a folder that is one model, named after the folder.
type single struct{ spec, dir string }

func (s *single) Spec() string { return s.spec }

func (s *single) Kind() string { return "model" }

func (s *single) Scan(context.Context) ([]*Model, error) {
	if _, err := os.Stat(s.dir); err != nil {
		return nil, fmt.Errorf("scan %s: %w", s.spec, err)
	}
	return []*Model{{name: filepath.Base(s.dir), folder: fixed(s.dir)}}, nil
}

// file is one weight file.
type file struct{ spec, path string }

func newFile(spec, path string) (Source, error) {
	if !isWeight(filepath.Base(path)) {
		return nil, fmt.Errorf("%w: %s is no weight file that modelfs knows (by its extension)", ErrSpec, spec)
	}
	return &file{spec, path}, nil
}

func (s *file) Spec() string { return s.spec }

func (s *file) Kind() string { return "file" }

func (s *file) Scan(context.Context) ([]*Model, error) {
	dir, name := filepath.Split(s.path)
	if _, err := os.Stat(s.path); err != nil {
		return nil, fmt.Errorf("scan %s: %w", s.spec, err)
	}
	return []*Model{{name: looseName(name), folder: fixed(filepath.Clean(dir)), only: []string{name}}}, nil
}
