// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/modelfs/modelfs/sources"
)

// fresh is how long a list is taken for current.
const fresh = time.Second

// Catalog is the models of a list of sources, the first of which wins where two
// have one name.
type Catalog struct {
	sources []sources.Source
	log     *slog.Logger
	indexes *indexes
	// vanished is told of a model, or of a weight file of one, that is not there any
	// more.
	vanished func(model, file string)

	scanning sync.Mutex // held by the one that scans

	mu       sync.RWMutex
	at       time.Time // of the last scan
	models   map[string]*Model
	names    []string // of models, sorted
	shadowed []string
	failed   map[int]string  // the last error of each source, logged once
	gone     map[string]bool // names that went since vanished was told
}

// Child is one name below a prefix: a model, or a folder that leads to models.
type Child struct {
	Name  string
	Model *Model // nil for a folder
}

// New returns the catalog of the sources; they are read when somebody asks.
func New(list []sources.Source, log *slog.Logger) *Catalog {
	return &Catalog{
		sources: list, log: log, indexes: newIndexes(),
		models: make(map[string]*Model), failed: make(map[int]string), gone: make(map[string]bool),
		vanished: func(string, string) {},
	}
}

// OnIdle sets what is called, in a goroutine of its own, after nobody has used the
// tensors of any model for a while and what was kept of them is gone. It must be
// set before the catalog is used.
func (c *Catalog) OnIdle(f func()) { c.indexes.emptied = f }

// OnVanished sets what is called, without locks, when somebody looked and a model is
// gone from its source (file is ""), or a weight file from a model that is still
// there. While a source cannot be read no model is taken for gone. It must be set
// before the catalog is used.
func (c *Catalog) OnVanished(f func(model, file string)) { c.vanished = f }

// refresh scans the sources if the last scan is too old.
func (c *Catalog) refresh(ctx context.Context) {
	if c.current() {
		return
	}
	for _, name := range c.scan(ctx) {
		c.vanished(name, "")
	}
}

// scan looks at the sources, unless somebody else just did, and returns the models that
// are gone for sure.
func (c *Catalog) scan(ctx context.Context) (gone []string) {
	c.scanning.Lock()
	defer c.scanning.Unlock()
	if c.current() || ctx.Err() != nil {
		return nil
	}
	found := make([][]*sources.Model, len(c.sources))
	errs := make([]error, len(c.sources))
	for i, s := range c.sources {
		found[i], errs[i] = s.Scan(ctx)
	}
	if ctx.Err() != nil {
		return nil // what was interrupted is not the whole list
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mergeLocked(found)
	certain := true
	for i, err := range errs {
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != "" && text != c.failed[i] {
			c.log.Warn("source cannot be read", "source", c.sources[i].Spec(), "error", err)
		}
		c.failed[i] = text
		certain = certain && (err == nil || errors.Is(err, iofs.ErrNotExist))
	}
	c.at = time.Now()
	if certain {
		gone = slices.Collect(maps.Keys(c.gone))
		clear(c.gone)
	}
	return gone
}

// Changed says that a source has other models now: the next question looks at once.
func (c *Catalog) Changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Time{}
	for _, m := range c.models {
		m.forgetCheckpoints()
	}
}

// outdated says whether a source has said that it changed.
func (c *Catalog) outdated() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.at.IsZero()
}

func (c *Catalog) current() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return !c.at.IsZero() && time.Since(c.at) < fresh
}

// mergeLocked puts the sources' models into one list. A name that is taken, or
// that lies below or above an earlier model, is shadowed.
func (c *Catalog) mergeLocked(found [][]*sources.Model) {
	models := make(map[string]*Model)
	folders := make(map[string]bool)
	var shadowed []string
	for i, list := range found {
		for _, m := range list {
			name := m.Name()
			if why := taken(models, folders, name); why != "" {
				shadowed = append(shadowed, fmt.Sprintf("%s of %s: %s", name, c.sources[i].Spec(), why))
				continue
			}
			known := c.models[name]
			if known == nil {
				known = newModel(name, c)
			}
			known.set(m)
			models[name] = known
			for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
				folders[name[:at]] = true
			}
		}
	}
	if !slices.Equal(shadowed, c.shadowed) && len(shadowed) > 0 {
		c.log.Warn("models that cannot be seen: their names are taken", "models", shadowed)
	}
	for name := range c.models {
		c.gone[name] = true
	}
	for name := range models {
		delete(c.gone, name)
	}
	c.models, c.shadowed = models, shadowed
	c.names = make([]string, 0, len(models))
	for name := range models {
		c.names = append(c.names, name)
	}
	sort.Strings(c.names)
}

func taken(models map[string]*Model, folders map[string]bool, name string) string {
	if models[name] != nil {
		return "another model has that name"
	}
	if folders[name] {
		return "other models lie below that name"
	}
	for at := strings.IndexByte(name, '/'); at >= 0; {
		if models[name[:at]] != nil {
			return "it lies below the model " + name[:at]
		}
		next := strings.IndexByte(name[at+1:], '/')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return ""
}

// Models returns every model, by name.
func (c *Catalog) Models(ctx context.Context) []*Model {
	c.refresh(ctx)
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*Model, len(c.names))
	for i, name := range c.names {
		out[i] = c.models[name]
	}
	return out
}

// Lookup finds a model by name.
func (c *Catalog) Lookup(ctx context.Context, name string) (*Model, bool) {
	if m := c.known(name); m != nil && !c.outdated() {
		return m, true
	}
	c.refresh(ctx)
	m := c.known(name)
	return m, m != nil
}

func (c *Catalog) known(name string) *Model {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.models[name]
}

// Child finds one name below a prefix ("" at the top).
func (c *Catalog) Child(ctx context.Context, prefix, name string) (Child, bool) {
	full := name
	if prefix != "" {
		full = prefix + "/" + name
	}
	if m, ok := c.Lookup(ctx, full); ok {
		return Child{name, m}, true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	i := sort.SearchStrings(c.names, full+"/")
	return Child{Name: name}, i < len(c.names) && strings.HasPrefix(c.names[i], full+"/")
}

// Children lists the names below a prefix ("" at the top).
func (c *Catalog) Children(ctx context.Context, prefix string) []Child {
	c.refresh(ctx)
	if prefix != "" {
		prefix += "/"
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []Child
	for i := sort.SearchStrings(c.names, prefix); i < len(c.names); {
		rest, ok := strings.CutPrefix(c.names[i], prefix)
		if !ok {
			break
		}
		first, _, folder := strings.Cut(rest, "/")
		if !folder {
			out = append(out, Child{first, c.models[c.names[i]]})
			i++
			continue
		}
		out = append(out, Child{Name: first})
		i = sort.SearchStrings(c.names, prefix+first+"0") // "0" follows "/"
	}
	return out
}

// Above returns the attributes that the folders of a prefix have in common, of all
// sources that have models below it: who may not read one may not read the names of
// all. It is false where no source has such a folder on disk.
func (c *Catalog) Above(prefix string) (all sources.Stat, ok bool, err error) {
	seen := make(map[string]bool)
	for _, m := range c.below(prefix) {
		src := m.source()
		if src.Top() == "" || seen[src.Top()] {
			continue
		}
		seen[src.Top()] = true
		st, statErr := src.Above(prefix)
		switch {
		case statErr != nil:
			err = statErr
		case ok:
			all = together(all, st)
		default:
			all, ok = st, true
		}
	}
	if ok {
		err = nil
	}
	return all, ok, err
}

// below are the models below a prefix.
func (c *Catalog) below(prefix string) []*Model {
	prefix += "/"
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*Model
	for i := sort.SearchStrings(c.names, prefix); i < len(c.names) && strings.HasPrefix(c.names[i], prefix); i++ {
		out = append(out, c.models[c.names[i]])
	}
	return out
}

// Shadowed says which models cannot be seen, and why.
func (c *Catalog) Shadowed() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.shadowed)
}
