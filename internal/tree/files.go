// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"os"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/sources"
)

// file makes the entry of rel inside a model.
func (t *Tree) file(ctx context.Context, m *catalog.Model, rel string) (fs.Entry, error) {
	st, err := m.Stat(ctx, rel)
	if err != nil {
		return nil, fail(err)
	}
	if st.Folder {
		return &folder{t: t, model: m, rel: rel}, nil
	}
	if m.Loads(rel) {
		part := cache.FileRecipe(m, rel, st.Generation).Part
		t.models.Doom(part)
		return &weightFile{t: t, model: m, part: part}, nil
	}
	return &sideFile{t: t, model: m, rel: rel, gen: st.Generation}, nil
}

// lister lists the folder rel of a model.
func (t *Tree) lister(m *catalog.Model, rel string) lister {
	return func(ctx context.Context) ([]fs.DirEntry, error) {
		entries, err := m.List(ctx, rel)
		if err != nil {
			return nil, fail(err)
		}
		out := make([]fs.DirEntry, len(entries))
		for i, e := range entries {
			out[i] = fs.DirEntry{Name: e.Name, Folder: e.Folder}
		}
		return out, nil
	}
}

// folder is a folder inside a model.
type folder struct {
	t     *Tree
	model *catalog.Model
	rel   string
}

var _ fs.Folder = (*folder)(nil)

func (f *folder) Attr(ctx context.Context) (fs.Attr, error) {
	st, err := f.model.Stat(ctx, f.rel)
	if err != nil {
		return fs.Attr{}, fail(err)
	}
	if !st.Folder {
		return fs.Attr{}, fs.ErrStale
	}
	return folderAttr(shown(st)), nil
}

func (f *folder) Generation() uint64 { return 0 }

func (f *folder) Lookup(ctx context.Context, name string) (fs.Entry, error) {
	return f.t.file(ctx, f.model, join(f.rel, name))
}

func (f *folder) OpenDir(context.Context, fs.Caller, bool) (fs.DirHandle, error) {
	return f.t.lister(f.model, f.rel), nil
}

// current returns the origin's attributes if it still is the generation that an
// entry stands for.
func current(ctx context.Context, m *catalog.Model, rel string, gen sources.Generation) (sources.Stat, error) {
	st, err := m.Stat(ctx, rel)
	if err != nil {
		return st, fail(err)
	}
	if st.Generation != gen {
		return st, fs.ErrStale
	}
	return st, nil
}

// weightFile is one generation of a weight file: opening it loads it.
type weightFile struct {
	t     *Tree
	model *catalog.Model
	part  cache.Part
}

var (
	_ fs.File = (*weightFile)(nil)
	_ Backed  = (*weightFile)(nil)
)

func (w *weightFile) ModelName() string { return w.part.Model }

func (w *weightFile) Bytes() int64 { return w.part.Gen.Size }

func (w *weightFile) Generation() uint64 { return w.part.Gen.Hash() }

func (w *weightFile) Attr(ctx context.Context) (fs.Attr, error) {
	st, err := current(ctx, w.model, w.part.File, w.part.Gen)
	if err != nil {
		return fs.Attr{}, err
	}
	a := shown(st)
	w.t.residency(&a, w.part)
	return a, nil
}

// residency adds what of a part is resident and when it was last used.
func (t *Tree) residency(a *fs.Attr, p cache.Part) {
	if n, ok := t.models.Cache.Resident(p); ok {
		a.Resident = uint64(n)
	}
	if used, ok := t.models.Cache.LastUse(p); ok {
		a.Atime = used
	}
}

// Open returns when this file is whole in memory, and the data files that it names;
// the rest of its checkpoint follows in the background.
func (w *weightFile) Open(ctx context.Context, c fs.Caller, nonblock bool) (fs.Content, error) {
	gen, err := w.model.Generation(ctx, w.part.File)
	if err != nil {
		return nil, fail(err)
	}
	if gen != w.part.Gen {
		return nil, fs.ErrStale
	}
	ref, err := w.t.models.Cache.Open(ctx, cache.FileRecipe(w.model, w.part.File, w.part.Gen), nonblock)
	if err != nil {
		return nil, fail(err)
	}
	reads := func(cp *catalog.Checkpoint) bool { return accessOf(c).readsFiles(ctx, cp) == nil }
	w.t.models.Together(ctx, w.model, w.part, !nonblock, reads)
	return ref, nil
}

// sideFile is a file that carries no weights (config, tokenizer): it is served
// from the origin and loads nothing. One that turns out to hold the data of a weight
// file is that from then on: the kernel keeps the entry that it has for some time.
type sideFile struct {
	t     *Tree
	model *catalog.Model
	rel   string
	gen   sources.Generation
}

var (
	_ fs.File = (*sideFile)(nil)
	_ Backed  = (*sideFile)(nil)
)

// weight is what the file is by now; nil for a side file.
func (s *sideFile) weight() *weightFile {
	if !s.model.Loads(s.rel) {
		return nil
	}
	return &weightFile{t: s.t, model: s.model, part: cache.FileRecipe(s.model, s.rel, s.gen).Part}
}

// ModelName is empty for a side file: who has it open uses nothing of the model.
func (s *sideFile) ModelName() string {
	if w := s.weight(); w != nil {
		return w.ModelName()
	}
	return ""
}

func (s *sideFile) Bytes() int64 {
	if w := s.weight(); w != nil {
		return w.Bytes()
	}
	return 0
}

func (s *sideFile) Generation() uint64 { return s.gen.Hash() }

func (s *sideFile) Attr(ctx context.Context) (fs.Attr, error) {
	if w := s.weight(); w != nil {
		return w.Attr(ctx)
	}
	st, err := current(ctx, s.model, s.rel, s.gen)
	if err != nil {
		return fs.Attr{}, err
	}
	return shown(st), nil
}

func (s *sideFile) Open(ctx context.Context, c fs.Caller, nonblock bool) (fs.Content, error) {
	if w := s.weight(); w != nil {
		return w.Open(ctx, c, nonblock)
	}
	f, st, err := s.model.Open(ctx, s.rel)
	if err != nil {
		return nil, fail(err)
	}
	if st.Generation != s.gen {
		_ = f.Close()
		return nil, fs.ErrStale
	}
	return &originContent{f}, nil
}

// originContent reads a side file. It has no backing for the kernel: these files
// are small, and an origin on an overlay could not be one.
type originContent struct{ *os.File }

func (o *originContent) Close() { _ = o.File.Close() }
