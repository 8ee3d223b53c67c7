// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors"
)

// Indexed is what the header of a checkpoint says, for one generation of its
// files. It is immutable.
type Indexed struct {
	Index *tensors.Index
	Tree  *tensors.Tree
	// Generation names the generations of all files.
	Generation string
	// Files are the generations that the index was read from, by file.
	Files map[string]sources.Generation
	// Err says what is wrong with the checkpoint; Index is empty then.
	Err error

	hash   uint64
	shards error // what was wrong with the list of shards
}

// Hash is a number that differs between generations; 0 only for the zero value.
func (ix *Indexed) Hash() uint64 { return ix.hash }

// Index reads the headers of the checkpoint's files, or returns what was read
// for the same generations. What is wrong with the files' content is Indexed.Err;
// the error is about getting at them.
func (cp *Checkpoint) Index(ctx context.Context) (*Indexed, error) {
	return cp.model.indexes.get(ctx, cp)
}

// IndexFile reads one weight file alone, whatever checkpoint it belongs to, and
// looks at the data files that it names.
func (m *Model) IndexFile(rel string) (*Indexed, error) {
	cp := &Checkpoint{Name: rel, Files: []string{rel}, model: m}
	gens, err := cp.generations()
	if err != nil {
		return nil, err
	}
	return cp.read(gens)
}

// Recheck makes the next Index look at the files, however lately it did.
func (cp *Checkpoint) Recheck() { cp.model.indexes.recheck(cp) }

// Limits of what is kept.
const (
	keepIndexes = 10 * time.Second       // after the last use of any
	revalidate  = 200 * time.Millisecond // how long the files' generations are believed
	maxIndexes  = 4096
	maxTensors  = 400_000 // in all indexes together, some 60 MB
	idleTensors = 20_000  // of them when nobody has asked for long, some 3 MB
)

// indexes keeps the indexes that were used last.
type indexes struct {
	mu      sync.Mutex
	cache   *simplelru.LRU[indexKey, *kept] // lru.Cache itself holds on to what it evicted last
	tensors int                             // in cache
	flights map[indexKey]*flight
	idle    *time.Timer // empties the cache
	used    time.Time
	emptied func() // told afterwards
}

type indexKey struct{ model, checkpoint string }

type kept struct {
	ix      *Indexed
	checked time.Time // when the files last were of these generations
}

// flight is one reading of headers that several may wait for.
type flight struct {
	done chan struct{}
	ix   *Indexed
	err  error
}

func newIndexes() *indexes {
	x := &indexes{flights: make(map[indexKey]*flight)}
	x.cache, _ = simplelru.NewLRU(maxIndexes, func(_ indexKey, k *kept) { x.tensors -= len(k.ix.Index.Tensors) })
	return x
}

func (x *indexes) get(ctx context.Context, cp *Checkpoint) (*Indexed, error) {
	key := indexKey{cp.model.name, cp.Name}
	x.mu.Lock()
	x.touchLocked()
	k, ok := x.cache.Get(key)
	if ok && time.Since(k.checked) < revalidate {
		x.mu.Unlock()
		return k.ix, nil
	}
	f := x.flights[key]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		x.flights[key] = f
		go x.fly(key, cp, k, f)
	}
	x.mu.Unlock()
	select {
	case <-f.done:
		return f.ix, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (x *indexes) recheck(cp *Checkpoint) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k, ok := x.cache.Peek(indexKey{cp.model.name, cp.Name}); ok {
		k.checked = time.Time{}
	}
}

// fly ends a flight: with what is known if the files have not changed.
func (x *indexes) fly(key indexKey, cp *Checkpoint, known *kept, f *flight) {
	var ix *Indexed
	gens, err := cp.generations()
	switch {
	case err != nil:
	case known != nil && known.ix.current(cp, gens) && fmt.Sprint(known.ix.shards) == fmt.Sprint(cp.err):
		ix = known.ix
	default:
		ix, err = cp.read(gens)
		if err == nil {
			cp.model.indexRead(cp, ix)
		}
	}
	f.ix, f.err = ix, err
	x.mu.Lock()
	delete(x.flights, key)
	if err == nil {
		x.keepLocked(key, ix)
	}
	x.mu.Unlock()
	close(f.done)
}

func (x *indexes) keepLocked(key indexKey, ix *Indexed) {
	x.cache.Remove(key)
	x.cache.Add(key, &kept{ix, time.Now()})
	x.tensors += len(ix.Index.Tensors)
	for x.tensors > maxTensors && x.cache.Len() > 1 {
		x.cache.RemoveOldest()
	}
}

// touchLocked notes a use; a timer runs only while something is kept.
func (x *indexes) touchLocked() {
	x.used = time.Now()
	if x.idle == nil {
		x.idle = time.AfterFunc(keepIndexes, x.expire)
	}
}

// expire lets go of the large indexes when nobody has used any for long: one of 100,000
// tensors is 30 MB. Small ones stay: to read one again costs more than an open.
func (x *indexes) expire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if left := keepIndexes - time.Since(x.used); left > 0 {
		x.idle = time.AfterFunc(left, x.expire)
		return
	}
	before := x.cache.Len()
	for x.tensors > idleTensors && x.cache.Len() > 0 {
		x.cache.RemoveOldest()
	}
	x.idle = nil
	if x.emptied != nil && x.cache.Len() < before {
		go x.emptied()
	}
}

// current says whether an index is still that of the checkpoint's files, and of the
// data files that they named.
func (ix *Indexed) current(cp *Checkpoint, now map[string]sources.Generation) bool {
	for rel, was := range ix.Files {
		g, ok := now[rel]
		if !ok {
			g, _ = cp.model.source().Whole().Own(rel)
		}
		if g != was {
			return false
		}
	}
	return len(now) <= len(ix.Files)
}

// generations are those of the checkpoint's files, now.
func (cp *Checkpoint) generations() (map[string]sources.Generation, error) {
	src := cp.model.source()
	gens := make(map[string]sources.Generation, len(cp.Files))
	for _, rel := range cp.Files {
		g, err := src.Generation(rel)
		if err != nil {
			return nil, err
		}
		gens[rel] = g
	}
	return gens, nil
}

// read parses the files' headers.
func (cp *Checkpoint) read(gens map[string]sources.Generation) (*Indexed, error) {
	out := &Indexed{Index: &tensors.Index{}, Files: maps.Clone(gens), Err: cp.err, shards: cp.err}
	all := &tensors.Index{}
	for _, rel := range cp.Headers() {
		if out.Err != nil {
			break
		}
		ix, err := cp.parse(rel, gens)
		if err != nil {
			return nil, err
		}
		if out.Err = ix.Err; out.Err == nil {
			out.Err = cp.beside(rel, ix.Index, out.Files)
		}
		switch {
		case out.Err != nil:
		case len(cp.Files) == 1:
			all = ix.Index
		default:
			all.Tensors = append(all.Tensors, ix.Index.Tensors...)
			all.Findings = append(all.Findings, ix.Index.Findings...)
		}
	}
	if out.Err == nil && len(cp.Files) > 1 {
		out.Err = distinct(all)
	}
	out.hash, out.Generation = cp.hash(out.Files)
	if out.Err == nil {
		out.Index = all
	}
	out.Tree = tensors.NewTree(out.Index.Tensors, cp.reserved()...)
	return out, nil
}

// parse reads one file's header. Only errors of the file's content are in the
// result's Err; a file that is another by now is an error.
func (cp *Checkpoint) parse(rel string, gens map[string]sources.Generation) (*Indexed, error) {
	f, st, err := cp.model.source().Open(rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Generation != gens[rel] {
		return nil, fmt.Errorf("read header of %s: %w", rel, sources.ErrReplaced)
	}
	ix, err := loaders.Parse(rel, f, st.Size)
	var wrong *loaders.FormatError
	switch {
	case err == nil:
		return &Indexed{Index: ix}, nil
	case errors.As(err, &wrong), errors.Is(err, loaders.ErrUnsupported):
		return &Indexed{Err: fmt.Errorf("%s: %w", rel, err)}, nil
	}
	return nil, fmt.Errorf("read header of %s: %w", rel, err)
}

// beside looks at the data files that a weight file names, adds their generations,
// and says what is wrong with them. Every tensor must lie in a file as large as it
// says, whether the file is a data file, the weight file itself or another one of
// the checkpoint.
func (cp *Checkpoint) beside(rel string, ix *tensors.Index, files map[string]sources.Generation) error {
	looked := map[string]sources.Generation{rel: files[rel]}
	for i := range ix.Tensors {
		t := &ix.Tensors[i]
		g, ok := looked[t.File]
		if !ok {
			var err error
			if g, err = cp.model.source().Whole().Own(t.File); err != nil {
				return fmt.Errorf("the data of tensor %.100q: %w", t.Name, err)
			}
			looked[t.File], files[t.File] = g, g
		}
		if t.Maker == nil && t.Extent() > g.Size-t.Offset {
			return fmt.Errorf("tensor %.100q is %d bytes at %d of %s, which has %d", t.Name, t.Extent(), t.Offset, t.File, g.Size)
		}
	}
	return nil
}

// distinct says whether shards name a tensor twice.
func distinct(ix *tensors.Index) error {
	seen := make(map[string]string, len(ix.Tensors))
	for i := range ix.Tensors {
		t := &ix.Tensors[i]
		if file, ok := seen[t.Name]; ok {
			return fmt.Errorf("tensor %q is in %s and in %s", t.Name, file, t.File)
		}
		seen[t.Name] = t.File
	}
	return nil
}

// reserved are the names at the top of the primary checkpoint's folder that lead
// to other checkpoints.
func (cp *Checkpoint) reserved() []string {
	if !cp.primary {
		return nil
	}
	cps, err := cp.model.Checkpoints(context.Background())
	if err != nil {
		return nil
	}
	var names []string
	for _, other := range cps.All {
		if !other.primary {
			names = append(names, firstPart(other.Name))
		}
	}
	return names
}

func (cp *Checkpoint) hash(gens map[string]sources.Generation) (uint64, string) {
	if len(gens) == 1 && cp.err == nil {
		g := gens[cp.Files[0]]
		return g.Hash(), g.String()
	}
	h := fnv.New64a()
	for _, rel := range slices.Sorted(maps.Keys(gens)) {
		_, _ = fmt.Fprintf(h, "%s %s\n", rel, gens[rel])
	}
	_, _ = fmt.Fprint(h, cp.err)
	n := max(h.Sum64(), 1)
	return n, fmt.Sprintf("%016x", n)
}

func firstPart(name string) string {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i]
		}
	}
	return name
}
