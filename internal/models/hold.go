// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package models

import (
	"context"
	"sync"

	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/catalog"
)

// Hold is a reference on a model's primary checkpoint.
type Hold struct {
	models *Models
	model  string
	cancel context.CancelFunc
	done   chan struct{}

	once sync.Once
	refs []cache.Ref // written before done is closed
}

// Lease starts to load a model's primary checkpoint in the background and keeps
// what arrives until Release. Errors go to the log and the model's error.
func (m *Models) Lease(model *catalog.Model) *Hold {
	ctx, cancel := context.WithCancel(context.Background())
	h := &Hold{models: m, model: model.Name(), cancel: cancel, done: make(chan struct{})}
	m.count(h.model, 1)
	go func() {
		defer close(h.done)
		refs, err := m.acquire(ctx, model)
		if err != nil && ctx.Err() == nil {
			m.log.Warn("lease could not load", "model", h.model, "error", err)
		}
		h.refs = refs
	}()
	return h
}

// hold loads a model's primary checkpoint and returns a reference on it.
func (m *Models) hold(ctx context.Context, model *catalog.Model) (*Hold, error) {
	refs, err := m.acquire(ctx, model)
	h := &Hold{models: m, model: model.Name(), cancel: func() {}, done: make(chan struct{}), refs: refs}
	close(h.done)
	m.count(h.model, 1)
	if err != nil {
		h.Release()
		return nil, err
	}
	return h, nil
}

// acquire takes a reference on every file of the primary checkpoint, one load
// after the other: each alone takes what the disk gives.
func (m *Models) acquire(ctx context.Context, model *catalog.Model) ([]cache.Ref, error) {
	cp, err := primary(ctx, model)
	if err != nil {
		return nil, err
	}
	if cp, err = cp.Complete(ctx); err != nil {
		return nil, err
	}
	files, err := recipes(ctx, model, cp)
	if err != nil {
		return nil, err
	}
	var refs []cache.Ref
	for _, r := range files {
		ref, err := m.Cache.Hold(ctx, r)
		if err != nil {
			return refs, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// Release gives the references back and ends a load that nobody else waits for.
// It is idempotent and does not wait: what is loaded is given back now, what
// still loads when that has ended.
func (h *Hold) Release() {
	h.once.Do(func() {
		h.cancel()
		h.models.count(h.model, -1)
		select {
		case <-h.done:
			h.drop()
		default:
			go func() {
				<-h.done
				h.drop()
			}()
		}
	})
}

// drop gives the references back, once they are known.
func (h *Hold) drop() {
	for _, r := range h.refs {
		r.Close()
	}
}

func (m *Models) count(model string, by int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holds[model] += by; m.holds[model] == 0 {
		delete(m.holds, model)
	}
}

func (m *Models) held(model string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holds[model] > 0
}
