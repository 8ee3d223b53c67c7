// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/modelfs/modelfs/loaders"
)

// What a tree of symlinks can cost.
const (
	maxDepth  = 12     // how deep below a source a model may lie
	maxLinked = 10_000 // how many folders below links one scan looks into
)

// fixed is the folder of a model whose place does not change.
func fixed(dir string) func() (string, error) { return func() (string, error) { return dir, nil } }

// folder is a tree of folders with models in it. Scans come one at a time.
type folder struct {
	spec, dir string
	fence     *Fence
	seen      map[string]glance // by path, of the last scan
}

func (s *folder) Spec() string { return s.spec }

func (s *folder) Kind() string { return "folder" }

func (s *folder) Scan(ctx context.Context) ([]*Model, error) {
	entries, err := s.fence.list(s.dir, s.dir)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", s.spec, err)
	}
	for _, e := range entries {
		if !e.Folder && isModelFile(e.Name) { // it became one model since
			return (&single{s.spec, s.dir, s.fence}).Scan(ctx)
		}
	}
	models := loose(s.dir, s.fence, entries)
	scan := descent{ctx: ctx, top: s.dir, fence: s.fence, before: s.seen, now: make(map[string]glance, len(s.seen))}
	for _, e := range entries {
		if e.Folder {
			scan.descend(e, "", 1)
		}
	}
	if ctx.Err() == nil {
		s.seen = scan.now
	}
	models = append(models, scan.found...)
	slices.SortStableFunc(models, func(a, b *Model) int { return strings.Compare(a.name, b.name) })
	return models, ctx.Err()
}

// glance is what one folder showed: a model, or folders to look into. It stays
// true while the folder has not changed, which is one system call to see instead
// of five to list it.
type glance struct {
	generation Generation
	model      bool
	folders    []Entry
	lasting    bool
}

// settled is how old a folder's last change must be for its time to tell: another
// one within the filesystem's clock tick would not show.
const settled = 2 * time.Second

// descent is one scan of a tree.
type descent struct {
	ctx         context.Context
	top         string // the source's folder
	fence       *Fence
	before, now map[string]glance
	linked      int // folders that were looked into below links
	found       []*Model
}

// descend looks for the topmost folders that are models. Hidden folders hold
// caches and version control, not models.
func (d *descent) descend(e Entry, above string, depth int) {
	if depth > maxDepth || strings.HasPrefix(e.Name, ".") || d.ctx.Err() != nil {
		return
	}
	if e.link {
		if d.linked++; d.linked > maxLinked {
			return
		}
	}
	rel := path.Join(above, e.Name)
	dir := path.Join(d.top, rel)
	g, ok := d.look(dir)
	if !ok {
		return
	}
	d.now[dir] = g
	if g.model {
		d.found = append(d.found, &Model{name: rel, folder: fixed(dir), top: d.top, fence: d.fence})
		return
	}
	for _, below := range g.folders {
		below.link = below.link || e.link
		d.descend(below, rel, depth+1)
	}
}

// look lists a folder, unless it is as it was.
func (d *descent) look(dir string) (glance, bool) {
	st, err := d.fence.stat(dir)
	if err != nil {
		return glance{}, false
	}
	g := glance{generation: generation(&st)}
	if known, ok := d.before[dir]; ok && known.lasting && known.generation == g.generation {
		return known, true
	}
	entries, links, err := d.fence.listLinks(d.top, dir)
	if err != nil {
		return glance{}, false
	}
	// What a link points to changes without the folder.
	g.lasting = !links && time.Since(time.Unix(0, max(g.generation.Mtime, g.generation.Ctime))) > settled
	for _, e := range entries {
		switch {
		case e.Folder:
			g.folders = append(g.folders, e)
		case isModelFile(e.Name) || IsWeight(e.Name):
			g.model, g.folders = true, nil
			return g, true
		}
	}
	return g, true
}

// IsWeight says whether a file carries tensors, by its name.
func IsWeight(name string) bool {
	_, ok := loaders.Of(name)
	return ok
}

// shardSuffix is what tells the shards of one checkpoint apart.
var shardSuffix = regexp.MustCompile(`-\d{5}-of-\d{5}$`)

// looseName is the model that a weight file in a source folder itself is: its
// name without extension and shard number.
func looseName(file string) string {
	if weights, ok := loaders.Companion(file); ok {
		file = weights
	}
	stem := strings.TrimSuffix(file, path.Ext(file))
	return cmp.Or(shardSuffix.ReplaceAllString(stem, ""), stem)
}

// loose makes the models of the weight files that lie in a source folder itself.
// Files of one name (shards, formats) are one model, with the index of shards if
// there is one.
func loose(dir string, fence *Fence, entries []Entry) []*Model {
	byName := make(map[string]*Model)
	var models []*Model
	for _, e := range entries {
		if e.Folder || !IsWeight(e.Name) {
			continue
		}
		name := looseName(e.Name)
		m := byName[name]
		if m == nil {
			m = &Model{name: name, folder: fixed(dir), fence: fence}
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
type single struct {
	spec, dir string
	fence     *Fence
}

func (s *single) Spec() string { return s.spec }

func (s *single) Kind() string { return "model" }

func (s *single) Scan(context.Context) ([]*Model, error) {
	if _, err := s.fence.stat(s.dir); err != nil {
		return nil, fmt.Errorf("scan %s: %w", s.spec, err)
	}
	return []*Model{{name: filepath.Base(s.dir), folder: fixed(s.dir), fence: s.fence}}, nil
}

// file is one weight file.
type file struct {
	spec, path string
	fence      *Fence
}

func newFile(spec, path string, fence *Fence) (Source, error) {
	if !IsWeight(filepath.Base(path)) {
		return nil, fmt.Errorf("%w: %s is no weight file that modelfs knows (by its extension)", ErrSpec, spec)
	}
	return &file{spec, path, fence}, nil
}

func (s *file) Spec() string { return s.spec }

func (s *file) Kind() string { return "file" }

func (s *file) Scan(context.Context) ([]*Model, error) {
	dir, name := filepath.Split(s.path)
	if _, err := s.fence.stat(s.path); err != nil {
		return nil, fmt.Errorf("scan %s: %w", s.spec, err)
	}
	return []*Model{{name: looseName(name), folder: fixed(filepath.Clean(dir)), only: []string{name}, fence: s.fence}}, nil
}
