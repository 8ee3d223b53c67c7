// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/scratch"
	"github.com/modelfs/modelfs/sources"
)

// keep is what of the areas the cache has: the weight files of published models, and
// objects.
//
// A file's part is named after its model, and the model it belongs to changes: a
// pipeline's model_index.json may be sealed after the weights in the folders below, and
// may go before them. Then their parts are renamed. naming is held from the question
// which model a file is of until that is what the cache has.
type keep struct {
	d          *Daemon
	forgetting sync.WaitGroup // of names of what was evicted

	naming sync.Mutex // before mu, and before the locks of areas and registry

	mu        sync.Mutex // a leaf
	byPart    map[cache.Part]*keptFile
	byAccount map[string]map[*keptFile]struct{}
}

// keptFile is one of them; a scratch.Keeper.
type keptFile struct {
	keep *keep
	kind scratch.Kind
	file scratch.File
	part cache.Part // guarded by keep.mu
}

func (k *keep) init(d *Daemon) {
	k.d = d
	k.byPart = make(map[cache.Part]*keptFile)
	k.byAccount = make(map[string]map[*keptFile]struct{})
}

// sealed gives a weight file of a published model, or an object, to the cache. Other
// files of a model stay with the area.
func (k *keep) sealed(kind scratch.Kind, f scratch.File) (scratch.Keeper, error) {
	k.naming.Lock()
	defer k.naming.Unlock()
	if kind == scratch.Models {
		k.changed(f.Path)
	}
	var st unix.Stat_t
	if err := unix.Lstat(f.Disk, &st); err != nil {
		return nil, fmt.Errorf("sealed file %s: %w", f.Path, err)
	}
	gen := sources.Generation{Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size} // as sources.Published has it
	part, ok := k.partOf(kind, f, gen)
	if !ok {
		return nil, nil
	}
	seg, err := k.d.store.Adopt(part.String(), f.Disk, f.Unlink)
	if err != nil {
		return nil, err
	}
	reg := k.d.cache.Registry()
	if kind == scratch.Models && reg.Group(part.Model).Items == 0 {
		// Nobody can load it again: only the room that others need, or a TTL of its own,
		// takes it away.
		reg.SetTTL(part.Model, 0)
	}
	kept := &keptFile{keep: k, kind: kind, file: f, part: part}
	k.add(kept)
	if !k.d.cache.Adopt(part, seg, f.Charged, f.Account) {
		k.drop(kept)
		return nil, errors.New("another one has its place")
	}
	return kept, nil
}

// partOf says what a sealed file is to the cache; false if it is none of its.
func (k *keep) partOf(kind scratch.Kind, f scratch.File, gen sources.Generation) (cache.Part, bool) {
	switch kind {
	case scratch.Objects:
		return cache.Part{Model: f.Account, File: f.Path, Gen: gen, Fixed: true}, true
	case scratch.Models:
		top := k.d.areas.Models.Top(f.Path, sources.PublishedDepth, sources.MakesModel)
		if top == "" || !sources.IsWeight(path.Base(f.Path)) {
			return cache.Part{}, false
		}
		return cache.Part{Model: top, File: strings.TrimPrefix(f.Path, top+"/"), Gen: gen, Fixed: true}, true
	}
	return cache.Part{}, false
}

// changed follows a file's getting or losing its name: what lies below its folder may
// be of another model now.
func (k *keep) changed(p string) {
	if !sources.MakesModel(path.Base(p)) {
		return
	}
	k.d.catalog.Changed()
	below := path.Dir(p) + "/"
	for _, f := range k.all() {
		if f.kind == scratch.Models && strings.HasPrefix(f.file.Path, below) {
			k.rename(f)
		}
	}
}

// rename gives a file the part that it is now. What is being evicted waits for the
// outcome.
func (k *keep) rename(f *keptFile) {
	old := f.now()
	now, ok := k.partOf(f.kind, f.file, old.Gen)
	if !ok || now == old {
		return
	}
	reg := k.d.cache.Registry()
	if reg.Group(now.Model).Items == 0 {
		reg.SetTTL(now.Model, 0)
	}
	k.move(f, now)
	for !reg.Rename(old, now) {
		if _, there := k.d.cache.Resident(old); !there {
			k.move(f, old)
			k.freed(old) // again: it was not known by that part meanwhile
			return
		}
		time.Sleep(time.Millisecond)
	}
	k.doomTensors(old)
}

// doomTensors lets go of the tensors that were made from a file.
func (k *keep) doomTensors(of cache.Part) {
	reg := k.d.cache.Registry()
	for _, p := range reg.Keys(of.Model) {
		if p.File == of.File && p.Gen == of.Gen && p.Form != cache.File {
			reg.Doom(p)
		}
	}
}

// removed follows the loss of a sealed file's name.
func (k *keep) removed(kind scratch.Kind, p string) {
	if kind != scratch.Models {
		return
	}
	k.naming.Lock()
	defer k.naming.Unlock()
	k.changed(p)
}

// freed takes away the name of what the cache has evicted; of a model, all of it.
func (k *keep) freed(part cache.Part) {
	if !part.Fixed || part.Form != cache.File {
		return
	}
	k.mu.Lock()
	f := k.byPart[part]
	k.mu.Unlock()
	if f == nil {
		return
	}
	if _, resident := k.d.cache.Resident(part); resident {
		return
	}
	// Not here: who asked for room may hold up those who hold the area's names.
	k.forgetting.Go(func() {
		if f.kind == scratch.Objects {
			k.d.areas.Objects.Forget(f.file.Path, f.file.Path)
		} else {
			k.d.areas.Models.Forget(f.file.Path, part.Model)
		}
	})
}

// of are the parts of what lies in a published model's topmost folder.
func (k *keep) of(account string) []cache.Part {
	k.mu.Lock()
	defer k.mu.Unlock()
	var parts []cache.Part
	for f := range k.byAccount[account] {
		parts = append(parts, f.part)
	}
	return parts
}

func (k *keep) all() []*keptFile {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]*keptFile, 0, len(k.byPart))
	for _, f := range k.byPart {
		list = append(list, f)
	}
	return list
}

func (k *keep) add(f *keptFile) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.byPart[f.part] = f
	mine := k.byAccount[f.file.Account]
	if mine == nil {
		mine = make(map[*keptFile]struct{})
		k.byAccount[f.file.Account] = mine
	}
	mine[f] = struct{}{}
}

func (k *keep) drop(f *keptFile) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.byPart, f.part)
	mine := k.byAccount[f.file.Account]
	delete(mine, f)
	if len(mine) == 0 {
		delete(k.byAccount, f.file.Account)
	}
}

func (k *keep) move(f *keptFile, to cache.Part) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.byPart, f.part)
	f.part = to
	k.byPart[to] = f
}

func (f *keptFile) now() cache.Part {
	f.keep.mu.Lock()
	defer f.keep.mu.Unlock()
	return f.part
}

// Open returns a reference on the segment.
func (f *keptFile) Open(context.Context) (scratch.Content, error) {
	for {
		part := f.now()
		ref, err := f.keep.d.cache.OpenResident(part)
		switch {
		case err == nil:
			return ref.(scratch.Content), nil
		case part == f.now(): // else it was renamed meanwhile
			return nil, err
		}
	}
}

// Lost lets go of a file that lost its name, and of the tensors made from it.
func (f *keptFile) Lost() {
	f.keep.naming.Lock()
	defer f.keep.naming.Unlock()
	f.keep.drop(f)
	part := f.now()
	f.keep.doomTensors(part)
	f.keep.d.cache.Registry().Doom(part)
}
