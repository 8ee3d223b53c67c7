// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	minilmScript  = "serving_minilm.py"
	minilmTokens  = 16 // of a sentence
	minilmWidth   = 384
	minilmCallers = 32
	minilmLoad    = 2 * time.Second
)

// minilm: a model that takes its time, with and without batches.
func (m *serving) minilm(ctx context.Context) ([]result, error) {
	const what = "MiniLM, 32 callers of a sentence each: calls answered, in batches of at most 32"
	const alone = "modelfs, one by one"
	if m.plan.servingMiniLM == 0 {
		return nil, nil
	}
	py, err := m.bench.python.library(ctx, minilmScript)
	if err != nil {
		return []result{without(what, rate, nil, alone, oftener(1.5), err)}, nil
	}
	models, err := m.scope.folder("minilm")
	if err != nil {
		return nil, err
	}
	if _, err := py.ask(ctx, minilmScript, "make", filepath.Join(models, servedModel)); err != nil {
		return nil, err
	}
	d, err := m.mountModels(ctx, m.scope, "mnt-minilm", models, 1<<30)
	if err != nil {
		return nil, err
	}
	var one, batched *inferenceServer
	s := &starter{ctx: ctx, bench: m.bench, scope: m.scope}
	model := servedModel + "=serving_models:MiniLM"
	s.modelfs(&one, "minilm-one", py.program, d.mount, model)
	s.modelfs(&batched, "minilm-batched", py.program, d.mount, model, "--max-batch", "32")
	if err := s.wait(); err != nil {
		return nil, err
	}
	slowest := map[string]series{}
	callers := func(s *inferenceServer) contender {
		return contender{s.name, rate, func(ctx context.Context) (float64, error) {
			a, err := m.callers(ctx, s, "ids", minilmCallers, minilmLoad)
			slowest[s.name] = append(slowest[s.name], a.P99)
			return float64(a.Count) / max(a.Seconds, 1e-9), err
		}}
	}
	all, err := m.takeTurns(ctx, m.plan.servingMiniLM, []contender{callers(batched), callers(one)})
	if err != nil {
		return nil, err
	}
	a, err1 := beside(what, rate, all[0], alone, all[1], oftener(1.5))
	b, err2 := beside("MiniLM, those calls: 99 of 100 are answered within", seconds, slowest[batched.name][1:], alone, slowest[one.name][1:], slowdown(1))
	a.Note = fmt.Sprintf("%s; sentences of %d tokens; random weights of its shape", py.versions, minilmTokens)
	return []result{a, b}, errors.Join(err1, err2)
}
