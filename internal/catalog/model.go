// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/sources"
)

// Model is one model. It stays the same value while its name is known, whatever
// happens on disk.
type Model struct {
	name    string
	indexes *indexes
	catalog *Catalog

	mu        sync.Mutex
	src       *sources.Model
	looked    time.Time    // when cps was made
	cps       *Checkpoints // nil: not looked at
	lastError error        // of the primary checkpoint's index, when last read
	named     map[string]named
}

func newModel(name string, c *Catalog) *Model {
	return &Model{name: name, indexes: c.indexes, catalog: c}
}

func (m *Model) set(src *sources.Model) {
	m.mu.Lock()
	m.src = src
	m.mu.Unlock()
}

func (m *Model) source() *sources.Model {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.src
}

// Name is the model's path below models/; it may hold "/".
func (m *Model) Name() string { return m.name }

// Folder returns the attributes of the model's folder.
func (m *Model) Folder(context.Context) (sources.Stat, error) { return m.source().Stat("") }

// Stat returns the attributes of a file or folder of the model.
func (m *Model) Stat(_ context.Context, rel string) (sources.Stat, error) {
	return m.source().Stat(rel)
}

// Generation is that of a file of the model, now; also of a data file that a weight
// file names.
func (m *Model) Generation(_ context.Context, rel string) (sources.Generation, error) {
	return m.source().Whole().Generation(rel)
}

// List returns what a folder of the model holds; "" is the model's own.
func (m *Model) List(_ context.Context, rel string) ([]sources.Entry, error) {
	return m.source().List(rel)
}

// Open opens a file of the model, or a data file that a weight file names. The
// caller closes it.
func (m *Model) Open(_ context.Context, rel string) (*os.File, sources.Stat, error) {
	return m.source().Whole().Open(rel)
}

// Published says whether the model was copied into the mount: it has no origin.
func (m *Model) Published() bool { return m.source().Published() }

// IsWeight says whether a file of the model carries tensors, by its name. What
// lies in hidden folders belongs to tools (version control, download caches).
func (m *Model) IsWeight(rel string) bool {
	if strings.HasPrefix(rel, ".") || strings.Contains(rel, "/.") {
		return false
	}
	_, ok := loaders.Of(path.Base(rel))
	return ok
}

// LastIndexError is what was wrong with the primary checkpoint's header when it
// was last read; nil if it never was.
func (m *Model) LastIndexError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastError
}

func (m *Model) indexRead(cp *Checkpoint, ix *Indexed) {
	m.learn(cp.Headers(), ix)
	if !cp.primary {
		return
	}
	m.mu.Lock()
	m.lastError = ix.Err
	m.mu.Unlock()
}

func (m *Model) forgetCheckpoints() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked = time.Time{}
}

// Checkpoints returns what of the model is loaded together.
func (m *Model) Checkpoints(ctx context.Context) (*Checkpoints, error) {
	m.mu.Lock()
	cps, looked := m.cps, m.looked
	m.mu.Unlock()
	if cps != nil && time.Since(looked) < fresh {
		return cps, nil
	}
	now, err := m.findCheckpoints(ctx)
	if err != nil {
		return nil, err
	}
	if cps != nil && cps.same(now) {
		now = cps // entries of the tree compare checkpoints by identity
	}
	m.mu.Lock()
	m.cps, m.looked = now, time.Now()
	m.mu.Unlock()
	if cps != nil {
		for file := range cps.byFile {
			if now.byFile[file] == nil {
				m.catalog.vanished(m.name, file)
			}
		}
	}
	return now, nil
}
