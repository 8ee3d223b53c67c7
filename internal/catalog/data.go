// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/sources"
)

// A weight file may name others that hold the data of its tensors, and only its header
// says which. Headers are not read to list models. So data files are part of a
// checkpoint by the names that exporters give them (loaders.Companion), and otherwise
// from when somebody has read the header: before it is loaded (Complete), or to show
// its tensors. Only where a file of no certain kind lies beside, and would be taken for
// a checkpoint of its own, is the header read at once.

// named is what one generation of a weight file names.
type named struct {
	gen   sources.Generation
	files []string
}

// Complete returns the checkpoint with the data files that it names. It reads the
// header if nobody has. What is wrong with that is not its business.
func (cp *Checkpoint) Complete(ctx context.Context) (*Checkpoint, error) {
	if !cp.Format.External {
		return cp, nil
	}
	if _, err := cp.Index(ctx); err != nil {
		return nil, err
	}
	cps, err := cp.model.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	if now, ok := cps.Named(cp.Name); ok {
		cp = now
	}
	return cp, nil
}

// learn notes which data files an index has found. A published model's are in memory
// as they are.
func (m *Model) learn(headers []string, ix *Indexed) {
	if format, _ := loaders.Of(headers[0]); !format.External || m.Published() {
		return
	}
	now := named{gen: ix.Files[headers[0]]}
	for _, rel := range slices.Sorted(maps.Keys(ix.Files)) {
		if !slices.Contains(headers, rel) {
			now.files = append(now.files, rel)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.named[headers[0]].files, now.files) {
		m.looked = time.Time{}
	}
	if m.named == nil {
		m.named = make(map[string]named)
	}
	m.named[headers[0]] = now
}

func (m *Model) known(weights string) named {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.named[weights]
}

// Loads says whether opening a file loads it: a weight file, and a data file that one
// is known to name.
func (m *Model) Loads(rel string) bool {
	if m.IsWeight(rel) {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.named {
		if slices.Contains(n.files, rel) {
			return true
		}
	}
	return false
}

// data says which files hold the data of a weight file, as far as is known.
func (f *finder) data() map[string][]string {
	data := make(map[string][]string)
	for _, rel := range f.weights {
		if owner, ok := loaders.Companion(rel); ok && slices.Contains(f.weights, owner) {
			data[owner] = append(data[owner], rel)
		}
	}
	for _, rel := range f.weights {
		if format, _ := loaders.Of(rel); !format.External {
			continue
		}
		if f.doubtful(rel) {
			f.lookInto(rel)
		}
		for _, name := range f.model.known(rel).files {
			if _, err := f.src.Generation(name); err == nil && !slices.Contains(data[rel], name) {
				data[rel] = append(data[rel], name)
			}
		}
	}
	return data
}

// doubtful says whether a file that may be the data of a weight file would be taken
// for a checkpoint.
func (f *finder) doubtful(weights string) bool {
	dir := path.Dir(weights) + "/"
	return slices.ContainsFunc(f.weights, func(rel string) bool {
		return loaders.Vague(rel) && f.byFile[rel] == nil && (dir == "./" || strings.HasPrefix(rel, dir))
	})
}

// lookInto reads a weight file's header, unless this generation's was read.
func (f *finder) lookInto(weights string) {
	gen, err := f.src.Generation(weights)
	if err != nil || gen == f.model.known(weights).gen {
		return
	}
	if ix, err := f.model.IndexFile(weights); err == nil {
		f.model.learn([]string{weights}, ix)
	}
}
