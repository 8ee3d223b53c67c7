// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package models

import (
	"context"
	"time"

	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/registry"
)

// State is what a model's primary checkpoint is in.
type State string

// The states of a model, as status.json and user.modelfs.state name them.
const (
	Absent   State = "absent"
	Loading  State = "loading"
	Resident State = "resident"
	Failed   State = "failed"
)

// Status is one model of status.json. Sizes are bytes; times are null for never.
type Status struct {
	Name          string     `json:"name"`
	State         State      `json:"state"`
	Refs          int        `json:"refs"`
	Bytes         int64      `json:"bytes"`
	ResidentBytes int64      `json:"resident_bytes"`
	LoadedAt      *time.Time `json:"loaded_at"`
	LastUsedAt    *time.Time `json:"last_used_at"`
	Loads         int64      `json:"loads"`
	Hits          int64      `json:"hits"`
	Pinned        bool       `json:"pinned"`
	TTLSeconds    float64    `json:"ttl_seconds"`
	Error         *string    `json:"error"`
}

// Viewer says what somebody may see of a model.
type Viewer interface {
	Lists(ctx context.Context, m *catalog.Model) bool // that it is there
	Reads(ctx context.Context, m *catalog.Model) bool // what is in its files
}

// All returns the status of the models that the viewer may see, by name.
func (m *Models) All(ctx context.Context, viewer Viewer) []Status {
	var out []Status
	var refs map[string]int
	for _, model := range m.Catalog.Models(ctx) {
		if !viewer.Lists(ctx, model) {
			continue
		}
		info := m.Cache.Registry().Group(model.Name())
		if refs == nil && m.touched(model.Name(), info) {
			refs = m.refsByModel()
		}
		s := m.status(ctx, model, info, refs[model.Name()])
		if s.Error != nil && !viewer.Reads(ctx, model) {
			s.Error = nil
		}
		out = append(out, s)
	}
	return out
}

// Status returns one model's.
func (m *Models) Status(ctx context.Context, model *catalog.Model) Status {
	info := m.Cache.Registry().Group(model.Name())
	refs := 0
	if m.touched(model.Name(), info) {
		refs = m.refsByModel()[model.Name()]
	}
	return m.status(ctx, model, info, refs)
}

// touched says whether anybody can have something of the model: only then is
// /proc worth a look.
func (m *Models) touched(name string, info registry.GroupInfo) bool {
	return info.Items > 0 || info.Misses > 0 || m.held(name)
}

func (m *Models) status(ctx context.Context, model *catalog.Model, info registry.GroupInfo, refs int) Status {
	s := Status{
		Name:          model.Name(),
		State:         m.state(ctx, model, info),
		Refs:          m.refs(model.Name(), info, refs),
		Bytes:         m.size(ctx, model),
		ResidentBytes: info.Resident,
		LoadedAt:      when(info.LoadedAt),
		LastUsedAt:    when(info.LastUsed),
		Loads:         info.Loads,
		Hits:          info.Hits,
		Pinned:        m.Cache.Registry().Pinned(model.Name()),
		TTLSeconds:    m.Cache.Registry().TTL(model.Name()).Seconds(),
	}
	if text := m.Error(model, info); text != "" {
		s.Error = &text
	}
	return s
}

// state looks at the primary checkpoint; a model without one is resident when
// anything of it is.
func (m *Models) state(ctx context.Context, model *catalog.Model, info registry.GroupInfo) State {
	switch {
	case info.Loading:
		return Loading
	case info.Items == 0 && failed(info):
		return Failed
	case info.Items == 0:
		return Absent
	}
	cp, err := primary(ctx, model)
	if err != nil {
		return Resident
	}
	files, err := recipes(ctx, model, cp)
	if err != nil {
		return Resident
	}
	for _, r := range files {
		if _, ok := m.Cache.Resident(r.Part); !ok {
			if failed(info) {
				return Failed
			}
			return Absent
		}
	}
	return Resident
}

// failed says whether the last load went wrong. One that found no room may find it
// the next time.
func failed(info registry.GroupInfo) bool {
	return info.LastError != nil && !cache.NoRoom(info.LastError)
}

// size is the primary checkpoint's; 0 where there is none.
func (m *Models) size(ctx context.Context, model *catalog.Model) int64 {
	cps, err := model.Checkpoints(ctx)
	if err != nil || cps.Primary == nil {
		return 0
	}
	return cps.Primary.Bytes(ctx)
}

// Error returns what is wrong with a model: its last load's error, or what its
// loader said about the checkpoint when somebody last looked at its tensors.
func (m *Models) Error(model *catalog.Model, info registry.GroupInfo) string {
	if info.LastError != nil {
		return info.LastError.Error()
	}
	if err := model.LastIndexError(); err != nil {
		return err.Error()
	}
	return ""
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Doom lets go of everything of a file that is not of the generation that it has
// now: nobody finds it any more, and it is freed when its last user goes. A published
// file is never outdated: it may be hidden behind a source's.
func (m *Models) Doom(now cache.Part) {
	reg := m.Cache.Registry()
	for _, p := range reg.Keys(now.Model) {
		if p.File == now.File && p.Gen != now.Gen && !p.Fixed {
			reg.Doom(p)
		}
	}
}

// Vanished lets go of everything of a file that is gone from its source; of the whole
// model for "". What is published is none of a source's.
func (m *Models) Vanished(model, file string) {
	reg := m.Cache.Registry()
	for _, p := range reg.Keys(model) {
		if !p.Fixed && (file == "" || p.File == file) {
			reg.Doom(p)
		}
	}
}
