// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package models

import (
	"context"

	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/catalog"
)

// Together lets the rest of a weight file's checkpoint follow in the background,
// and counts what is resident of it as used now: a checkpoint goes as one.
func (m *Models) Together(ctx context.Context, model *catalog.Model, opened cache.Part) {
	cps, err := model.Checkpoints(ctx)
	if err != nil {
		return
	}
	cp := cps.Of(opened.File)
	if cp == nil {
		return
	}
	if cp, err = cp.Complete(ctx); err != nil || len(cp.Files) < 2 {
		return
	}
	files, err := recipes(ctx, model, cp)
	if err != nil {
		return
	}
	var others []cache.Part
	for _, r := range files {
		if r.Part == opened {
			continue
		}
		if _, ok := m.Cache.Resident(r.Part); ok {
			others = append(others, r.Part)
		} else {
			m.Cache.Start(r)
		}
	}
	m.Cache.Registry().Touch(others...)
}
