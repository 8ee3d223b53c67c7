// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"cmp"
	"context"
	"strings"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/tensors"
)

// tensorsFolder is tensors/<model> or a folder below it. At the top lie the
// primary checkpoint's tensors; every other checkpoint has a folder of its own,
// named after its weight file, which may lie in folders itself.
type tensorsFolder struct {
	t     *Tree
	model *catalog.Model
	as    variant
	// within is the checkpoint whose tensors lie here; "" names the primary one.
	within string
	// dir is the folder inside that checkpoint, in tensor paths.
	dir string
	// above is set for a folder that only leads to checkpoints: their common
	// prefix.
	above string
}

var (
	_ fs.Folder     = (*tensorsFolder)(nil)
	_ fs.Attributed = (*tensorsFolder)(nil)
)

// Attr is that of the model's folder, closed to whom the checkpoint's files are
// closed: their tensors' names are part of their content.
func (f *tensorsFolder) Attr(ctx context.Context) (fs.Attr, error) {
	st, err := f.model.Folder(ctx)
	if err != nil {
		return fs.Attr{}, fail(err)
	}
	cp, _, err := f.checkpoint(ctx)
	if err != nil {
		return fs.Attr{}, err
	}
	if cp != nil {
		files, err := cp.Stat(ctx)
		if err != nil {
			return fs.Attr{}, fail(err)
		}
		st.Mode = narrowed(st, files)
	}
	return folderAttr(shown(st)), nil
}

func (f *tensorsFolder) Generation() uint64 { return 0 }

// top says whether this is tensors/<model> itself.
func (f *tensorsFolder) top() bool { return f.within == "" && f.dir == "" && f.above == "" }

// checkpoint returns the one whose tensors lie here; nil where there is none.
func (f *tensorsFolder) checkpoint(ctx context.Context) (*catalog.Checkpoint, *catalog.Checkpoints, error) {
	cps, err := f.model.Checkpoints(ctx)
	if err != nil {
		return nil, nil, fail(err)
	}
	if f.above != "" {
		return nil, cps, nil
	}
	if f.within == "" {
		return cps.Primary, cps, nil
	}
	cp, ok := cps.Named(f.within)
	if !ok {
		return nil, cps, fs.ErrStale
	}
	return cp, cps, nil
}

func (f *tensorsFolder) Lookup(ctx context.Context, name string) (fs.Entry, error) {
	cp, cps, err := f.checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if f.dir == "" && f.above == "" {
		switch name {
		case tensors.IndexName:
			return f.index(ctx, cp, tensors.WriteIndex)
		case tensors.ColumnsName: // not listed
			return f.index(ctx, cp, tensors.WriteColumns)
		}
	}
	if f.top() || f.above != "" {
		if e, ok := f.leading(cps, join(f.above, name)); ok {
			return e, nil
		}
	}
	if cp == nil {
		return nil, fs.ErrNotExist
	}
	ix, err := cp.Index(ctx)
	if err != nil {
		return nil, fail(err)
	}
	node, ok := ix.Tree.Lookup(f.dir, name)
	if !ok {
		return nil, fs.ErrNotExist
	}
	if node.Folder {
		return &tensorsFolder{t: f.t, model: f.model, as: f.as, within: f.within, dir: join(f.dir, name)}, nil
	}
	return newTensorFile(f, cp, ix, node), nil
}

// leading resolves a path that is another checkpoint's folder, or on the way to
// one.
func (f *tensorsFolder) leading(cps *catalog.Checkpoints, path string) (fs.Entry, bool) {
	for _, cp := range cps.All {
		if cp == cps.Primary {
			continue
		}
		if cp.Name == path {
			return &tensorsFolder{t: f.t, model: f.model, as: f.as, within: cp.Name}, true
		}
		if strings.HasPrefix(cp.Name, path+"/") {
			return &tensorsFolder{t: f.t, model: f.model, as: f.as, above: path}, true
		}
	}
	return nil, false
}

func (f *tensorsFolder) OpenDir(context.Context, fs.Caller, bool) (fs.DirHandle, error) {
	return lister(f.list), nil
}

func (f *tensorsFolder) list(ctx context.Context) ([]fs.DirEntry, error) {
	cp, cps, err := f.checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	var out []fs.DirEntry
	if f.dir == "" && f.above == "" {
		out = append(out, fs.DirEntry{Name: tensors.IndexName})
	}
	if f.top() || f.above != "" {
		out = append(out, f.others(cps)...)
	}
	if cp == nil {
		return out, nil
	}
	ix, err := cp.Index(ctx)
	if err != nil {
		return nil, fail(err)
	}
	for _, n := range ix.Tree.List(f.dir) {
		out = append(out, fs.DirEntry{Name: n.Name, Folder: n.Folder})
	}
	return out, nil
}

// others lists the folders below here that are, or lead to, other checkpoints.
func (f *tensorsFolder) others(cps *catalog.Checkpoints) []fs.DirEntry {
	var out []fs.DirEntry
	seen := make(map[string]bool)
	for _, cp := range cps.All {
		rest := cp.Name
		if f.above != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(cp.Name, f.above+"/"); !ok {
				continue
			}
		}
		first, _, _ := strings.Cut(rest, "/")
		if cp != cps.Primary && !seen[first] {
			seen[first] = true
			out = append(out, fs.DirEntry{Name: first, Folder: true})
		}
	}
	return out
}

func (f *tensorsFolder) Xattr(ctx context.Context, c fs.Caller, name string) ([]byte, error) {
	if name != errorAttr || f.dir != "" {
		return nil, fs.ErrNoAttr
	}
	cp, _, err := f.checkpoint(ctx)
	if err != nil || cp == nil {
		return nil, fs.ErrNoAttr
	}
	if st, err := cp.Stat(ctx); err != nil || !accessOf(c).reads(st) {
		return nil, fs.ErrAccess
	}
	ix, err := cp.Index(ctx)
	if err != nil {
		return nil, fail(err)
	}
	if ix.Err == nil {
		return nil, fs.ErrNoAttr
	}
	return []byte(ix.Err.Error()), nil
}

func (f *tensorsFolder) ListXattr(ctx context.Context) ([]string, error) {
	if _, err := f.Xattr(ctx, fs.Caller{}, errorAttr); err != nil {
		return nil, nil
	}
	return []string{errorAttr}, nil
}

func (f *tensorsFolder) SetXattr(context.Context, fs.Caller, string, []byte) error {
	return fs.ErrPermission
}

// checkIndex reads the primary checkpoint's header, so that what is wrong with
// it is known.
func (t *Tree) checkIndex(ctx context.Context, m *catalog.Model) {
	if cps, err := m.Checkpoints(ctx); err == nil && cps.Primary != nil {
		_, _ = cps.Primary.Index(ctx)
	}
}

// tensorFile is one tensor of one generation of a checkpoint: opening it loads
// that tensor alone. It keeps no part of the index, which may be large: the
// catalog has it or reads it again.
type tensorFile struct {
	t     *Tree
	model *catalog.Model
	as    variant
	cp    *catalog.Checkpoint
	gen   uint64
	at    int32
	npy   bool
}

var (
	_ fs.File       = (*tensorFile)(nil)
	_ fs.Attributed = (*tensorFile)(nil)
	_ Backed        = (*tensorFile)(nil)
)

func newTensorFile(f *tensorsFolder, cp *catalog.Checkpoint, ix *catalog.Indexed, n tensors.Node) *tensorFile {
	return &tensorFile{t: f.t, model: f.model, as: f.as, cp: cp, gen: ix.Hash(), at: int32(n.Ordinal), npy: n.NPY}
}

func (f *tensorFile) ModelName() string { return f.model.Name() }

func (f *tensorFile) Generation() uint64 { return f.gen }

// Bytes is 0 when the tensor's generation is gone.
func (f *tensorFile) Bytes() int64 {
	r, _, err := f.recipe(context.Background())
	if err != nil {
		return 0
	}
	return r.Size()
}

// recipe says how the tensor is loaded, if it still is of this generation.
func (f *tensorFile) recipe(ctx context.Context) (cache.Recipe, *tensors.Tensor, error) {
	ix, err := f.cp.Index(ctx)
	if err != nil {
		return cache.Recipe{}, nil, fail(err)
	}
	if ix.Hash() != f.gen {
		return cache.Recipe{}, nil, fs.ErrStale
	}
	stored := &ix.Index.Tensors[f.at]
	t := f.as.of(stored)
	r, err := cache.TensorRecipe(f.model, t, ix.Files[t.File], f.npy)
	if t != stored {
		r.Part.As = f.as.dtype
	}
	if !f.cp.Describes(t.File) {
		r.Part.Index = f.gen
	}
	return r, t, err
}

func (f *tensorFile) Attr(ctx context.Context) (fs.Attr, error) {
	r, _, err := f.recipe(ctx)
	if err != nil {
		return fs.Attr{}, err
	}
	st, err := f.cp.StatOf(ctx, r.Part.File)
	if err != nil {
		return fs.Attr{}, fail(err)
	}
	a := shown(st)
	a.Size = uint64(r.Size())
	f.t.residency(&a, r.Part)
	if r.Part.As != f.as.dtype {
		a.Resident = 0 // unchanged: the plain tensor's, which du counts there
	}
	return a, nil
}

func (f *tensorFile) Open(ctx context.Context, _ fs.Caller, nonblock bool) (fs.Content, error) {
	r, _, err := f.recipe(ctx)
	if err != nil {
		return nil, err
	}
	if gen, err := f.model.Generation(ctx, r.Part.File); err != nil || gen != r.Part.Gen {
		f.cp.Recheck() // the kernel looks up again, once
		return nil, fail(cmp.Or(err, fs.ErrStale))
	}
	f.t.places.Store(r.Part, f.path(ctx, variant{r.Part.As}))
	f.t.asked.opened(f.model.Name(), f.as)
	ref, err := f.t.models.Cache.Open(ctx, r, nonblock)
	if err != nil {
		return nil, fail(err)
	}
	return ref, nil
}

// path is where the tensor's file is in the mount, from its top: of one that the variant
// leaves as it is, the plain one.
func (f *tensorFile) path(ctx context.Context, as variant) string {
	ix, err := f.cp.Index(ctx)
	if err != nil {
		return ""
	}
	path := ix.Tree.Path(int(f.at))
	if f.npy {
		path += ".npy"
	}
	if cps, err := f.model.Checkpoints(ctx); err == nil && (cps.Primary == nil || cps.Primary.Name != f.cp.Name) {
		path = f.cp.Name + "/" + path
	}
	return "tensors/" + f.model.Name() + as.suffix() + "/" + path
}

// Place is where a part that was opened lies in the mount, from its top. A
// tensor's is forgotten when the tensor is not resident any more.
func (t *Tree) Place(p cache.Part) string {
	if p.Form == cache.File {
		return "models/" + p.Model + "/" + p.File
	}
	place, ok := t.places.Load(p)
	if !ok {
		return ""
	}
	if _, resident := t.models.Cache.Resident(p); !resident {
		t.places.Delete(p)
	}
	return place.(string)
}
