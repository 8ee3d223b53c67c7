// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package models

import (
	"context"
	"slices"

	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/catalog"
)

// Together lets the rest of a weight file's checkpoint follow in the background, if who
// opened it may read all of it, and counts what is resident of it as used now: a
// checkpoint goes as one.
//
// With wait it returns when the data files are whole that the opened file names, or
// there is no room for them: who reads that file opens those next, and ONNX Runtime
// does it without waiting.
func (m *Models) Together(ctx context.Context, model *catalog.Model, opened cache.Part, wait bool, reads func(*catalog.Checkpoint) bool) {
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
	var resident []cache.Part
	var absent []cache.Recipe
	for _, r := range files {
		if r.Part == opened {
			continue
		}
		if _, ok := m.Cache.Resident(r.Part); ok {
			resident = append(resident, r.Part)
		} else {
			absent = append(absent, r)
		}
	}
	m.Cache.Registry().Touch(resident...)
	if len(absent) == 0 || !reads(cp) {
		return
	}
	for _, r := range absent {
		m.Cache.Start(r)
	}
	headers := cp.Headers()
	if !wait || !slices.Contains(headers, opened.File) {
		return
	}
	for _, r := range absent {
		if slices.Contains(headers, r.Part.File) {
			continue
		}
		if ref, err := m.Cache.Hold(ctx, r); err == nil {
			ref.Close()
		}
	}
}
