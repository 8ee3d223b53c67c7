// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"cmp"
	"context"
	"fmt"
	iofs "io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/loaders/safetensors"
	"github.com/modelfs/modelfs/sources"
)

// Checkpoint is what is loaded together: one weight file, or the shards of one.
type Checkpoint struct {
	// Name is the weight file's path below the model's folder; for shards, what
	// is left without the shard numbers ("model.safetensors").
	Name string
	// Files are the weight files, by name, and then the data files that they name, as
	// far as is known (see Complete).
	Files []string
	// Format is the files' format.
	Format loaders.Format

	model   *Model
	data    []string // those of Files that hold data of the others
	primary bool
	err     error // what is wrong with the list of shards
}

// ListError is what is wrong with a list of shards.
type ListError struct {
	List string // its path below the model's folder
	Err  error
}

func (e *ListError) Error() string { return e.List + ": " + e.Err.Error() }

func (e *ListError) Unwrap() error { return e.Err }

// Checkpoints are those of one model.
type Checkpoints struct {
	All []*Checkpoint // by name
	// Primary is the only one of the best kind; nil where there are several.
	Primary *Checkpoint
	// Unused are the lists of shards that are wrong and that no checkpoint goes by.
	Unused []*ListError

	byFile map[string]*Checkpoint
}

// Of returns the checkpoint that a weight file belongs to; nil for none.
func (c *Checkpoints) Of(file string) *Checkpoint { return c.byFile[file] }

// Named returns a checkpoint by its name.
func (c *Checkpoints) Named(name string) (*Checkpoint, bool) {
	i, ok := slices.BinarySearchFunc(c.All, name, func(cp *Checkpoint, name string) int { return strings.Compare(cp.Name, name) })
	if !ok {
		return nil, false
	}
	return c.All[i], true
}

// Headers are the checkpoint's files that say which tensors there are: all but those
// that hold the data of another one.
func (cp *Checkpoint) Headers() []string {
	return slices.DeleteFunc(slices.Clone(cp.Files), func(rel string) bool { return slices.Contains(cp.data, rel) })
}

// Describes says whether a file that tensors lie in is one that says so itself: else it
// is a data file, of which other files, and other checkpoints, say what is in it.
func (cp *Checkpoint) Describes(rel string) bool {
	return slices.Contains(cp.Files, rel) && !slices.Contains(cp.data, rel)
}

// same says whether two looks found the same checkpoints.
func (c *Checkpoints) same(o *Checkpoints) bool {
	return fmt.Sprint(c.Unused) == fmt.Sprint(o.Unused) && slices.EqualFunc(c.All, o.All, func(a, b *Checkpoint) bool {
		return a.Name == b.Name && slices.Equal(a.Files, b.Files) && slices.Equal(a.data, b.data) && a.primary == b.primary &&
			fmt.Sprint(a.err) == fmt.Sprint(b.err)
	})
}

// Bytes is the size of the checkpoint's files.
func (cp *Checkpoint) Bytes(ctx context.Context) int64 {
	var n int64
	for _, f := range cp.Files {
		if g, err := cp.model.Generation(ctx, f); err == nil {
			n += g.Size
		}
	}
	return n
}

// Stat returns the attributes that all files with headers have in common: what
// tensors/ and index.json show. Who may not read one shard may not read the index.
// Size and generation are the first file's.
func (cp *Checkpoint) Stat(ctx context.Context) (sources.Stat, error) {
	var all sources.Stat
	for i, f := range cp.Headers() {
		st, err := cp.model.Stat(ctx, f)
		if err != nil {
			return st, err
		}
		if i == 0 {
			all = st
			continue
		}
		all = together(all, st)
	}
	return all, nil
}

// StatOf is Stat for what lies in one file, which may be a data file: who may not
// read that one may not read a tensor in it.
func (cp *Checkpoint) StatOf(ctx context.Context, file string) (sources.Stat, error) {
	all, err := cp.Stat(ctx)
	if err != nil || slices.Contains(cp.Headers(), file) {
		return all, err
	}
	st, err := cp.model.source().Whole().Stat(file)
	return together(all, st), err
}

// together are the attributes that two files have in common. One file's owner or
// group is among the others of the other: those get what both give to all of them.
func together(a, b sources.Stat) sources.Stat {
	both := a.Mode & b.Mode
	switch {
	case b.Uid != a.Uid:
		a.Mode = both & (both >> 3) & (both >> 6) & 7
	case b.Gid != a.Gid:
		a.Mode = both&0o700 | both&(both>>3)&7
	default:
		a.Mode = both
	}
	if b.Mtime.After(a.Mtime) {
		a.Mtime = b.Mtime
	}
	return a
}

const (
	indexSuffix = ".index.json"
	// What symlinks below a model's folder can cost.
	maxFolders = 12 // deep
	maxLooks   = 10_000
)

// findCheckpoints looks at the names of the model's files, and into its lists of
// shards.
func (m *Model) findCheckpoints(ctx context.Context) (*Checkpoints, error) {
	src := m.source()
	f := finder{model: m, ctx: ctx, src: src, byFile: make(map[string]*Checkpoint), wrong: make(map[string]*ListError)}
	if err := f.folder("", 0); err != nil {
		return nil, err
	}
	for _, list := range f.lists {
		f.sharded(list)
	}
	f.series()
	f.blame()
	f.rest()
	slices.SortFunc(f.all, func(a, b *Checkpoint) int { return strings.Compare(a.Name, b.Name) })
	cps := &Checkpoints{All: f.all, byFile: f.byFile}
	for _, list := range slices.Sorted(maps.Keys(f.wrong)) {
		cps.Unused = append(cps.Unused, f.wrong[list])
	}
	cps.choose()
	return cps, ctx.Err()
}

// choose finds the primary checkpoint.
func (c *Checkpoints) choose() {
	if len(c.All) == 0 {
		return
	}
	best := slices.MinFunc(c.All, func(a, b *Checkpoint) int { return cmp.Compare(a.Format.Rank, b.Format.Rank) })
	n := 0
	for _, cp := range c.All {
		if cp.Format.Rank == best.Format.Rank {
			n++
		}
	}
	if n == 1 {
		best.primary = true
		c.Primary = best
	}
}

// finder puts checkpoints together.
type finder struct {
	model *Model
	ctx   context.Context
	src   *sources.Model

	looks   int                   // folders that were looked into
	weights []string              // weight files, in the order of the walk
	lists   []string              // lists of shards
	wrong   map[string]*ListError // what is wrong with lists that made no checkpoint
	byFile  map[string]*Checkpoint
	all     []*Checkpoint
}

// folder notes the weight files and lists of shards below rel.
func (f *finder) folder(rel string, depth int) error {
	entries, err := f.src.List(rel)
	if err != nil {
		if rel == "" {
			return err
		}
		return nil // a folder that cannot be read hides what is in it
	}
	for _, e := range entries {
		p := path.Join(rel, e.Name)
		switch {
		case strings.HasPrefix(e.Name, "."):
		case e.Folder && depth < maxFolders && f.looks < maxLooks && f.ctx.Err() == nil:
			f.looks++
			if err := f.folder(p, depth+1); err != nil {
				return err
			}
		case e.Folder:
		case f.model.IsWeight(p):
			f.weights = append(f.weights, p)
		case strings.HasSuffix(e.Name, indexSuffix):
			if f.model.IsWeight(strings.TrimSuffix(p, indexSuffix)) {
				f.lists = append(f.lists, p)
			}
		}
	}
	return nil
}

func (f *finder) add(name string, files []string, err error) {
	format, _ := loaders.Of(files[0])
	cp := &Checkpoint{Name: name, Files: files, Format: format, model: f.model, err: err}
	f.all = append(f.all, cp)
	for _, rel := range files {
		f.byFile[rel] = cp
	}
}

// sharded makes the checkpoint of a list of shards (model.safetensors.index.json). A
// list that is no such list, or has nothing that is there, makes none.
func (f *finder) sharded(list string) {
	index, err := f.readList(list)
	if err != nil {
		f.wrong[list] = &ListError{list, err}
		return
	}
	var files, all, missing []string
	for _, name := range index.Files {
		rel := path.Join(path.Dir(list), name)
		all = append(all, rel)
		switch {
		case !slices.Contains(f.weights, rel):
			missing = append(missing, name)
		case f.byFile[rel] == nil:
			files = append(files, rel)
		}
	}
	var wrong error
	if len(missing) > 0 {
		f.wrong[list] = &ListError{list, fmt.Errorf("%d of its files are not there: %s: %w",
			len(missing), strings.Join(missing[:min(3, len(missing))], ", "), iofs.ErrNotExist)}
		wrong = f.wrong[list]
	}
	name := strings.TrimSuffix(list, indexSuffix)
	whole := slices.Contains(f.weights, name)
	if len(files) == 0 || wrong != nil && whole && !slices.Contains(all, name) {
		return
	}
	delete(f.wrong, list)
	if f.nameTaken(name) {
		name = list
	}
	f.add(name, files, wrong)
}

// blame gives the series of numbered shards what is wrong with its list: a program
// that goes by the list loads something else, or nothing. Where the one file that a
// list is about is there (model.safetensors beside model.safetensors.index.json),
// the list is left over from another form of the model: the file comes first for
// transformers too, which does not look at the list then.
func (f *finder) blame() {
	for _, cp := range f.all {
		list := cp.Name + indexSuffix
		if wrong := f.wrong[list]; wrong != nil && !slices.Contains(f.weights, cp.Name) {
			cp.err = wrong
			delete(f.wrong, list)
		}
	}
}

// rest makes a checkpoint of each file that is in none, and adds the data files.
func (f *finder) rest() {
	data := f.data()
	var held []string
	for _, files := range data {
		held = append(held, files...)
	}
	for _, rel := range f.weights {
		_, companion := loaders.Companion(rel)
		if f.byFile[rel] == nil && !(slices.Contains(held, rel) && (companion || loaders.Vague(rel))) {
			f.add(rel, []string{rel}, nil)
		}
	}
	for owner, files := range data {
		cp := f.byFile[owner]
		for _, rel := range files {
			if !slices.Contains(cp.Files, rel) {
				cp.Files, cp.data = append(cp.Files, rel), append(cp.data, rel)
			}
			if f.byFile[rel] == nil {
				f.byFile[rel] = cp
			}
		}
	}
}

func (f *finder) readList(list string) (*safetensors.ShardIndex, error) {
	file, st, err := f.src.Open(list)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return safetensors.ParseShardIndex(file, st.Size)
}

// shard is a name of a series: stem, number, total, extension.
var shard = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})(\.[^./]+)$`)

// series groups files by the numbers in their names.
func (f *finder) series() {
	groups := make(map[string][]string)
	var order []string
	for _, rel := range f.weights {
		part := shard.FindStringSubmatch(rel)
		if part == nil || f.byFile[rel] != nil {
			continue
		}
		key := part[1] + part[4] + "\x00" + part[3]
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], rel)
	}
	for _, key := range order {
		files := groups[key]
		name, total, _ := strings.Cut(key, "\x00")
		var err error
		if want := atoi(total); len(files) != want || !consecutive(files) {
			err = fmt.Errorf("%s: %d of %d shards are there", name, len(files), want)
		}
		if f.nameTaken(name) {
			name = files[0]
		}
		f.add(name, files, err)
	}
}

// consecutive says whether the shards are numbers 1, 2, 3 and so on. They come by
// name.
func consecutive(files []string) bool {
	for i, rel := range files {
		if atoi(shard.FindStringSubmatch(rel)[2]) != i+1 {
			return false
		}
	}
	return true
}

// nameTaken says whether a file or a checkpoint has that name.
func (f *finder) nameTaken(name string) bool {
	return slices.Contains(f.weights, name) ||
		slices.ContainsFunc(f.all, func(cp *Checkpoint) bool { return cp.Name == name })
}

func atoi(s string) int {
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}
