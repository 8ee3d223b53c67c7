// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// measurement is a group of figures that share their inputs.
type measurement struct {
	name string
	need func(plan) room
	run  func(context.Context, *bench, *scope) ([]result, error)
}

// measurements lists them all, in the order of the table.
func measurements() []measurement {
	return []measurement{
		{"touch", needTouch, measureTouch},
		{"cold", needCold, measureCold},
		{"open", needOpen, measureOpen},
		{"attach", needAttach, measureAttach},
		{"tensors", needTensors, measureTensors},
		{"models", needModels, measureModels},
		{"headers", needHeaders, measureHeaders},
		{"idle", needIdle, measureIdle},
		{"objects", needObjects, measureObjects},
		{"frames", needFrames, measureFrames},
		{"writing", needWriting, measureWriting},
		{"serving", needServing, measureServing},
	}
}

func measurementNames() []string {
	var names []string
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	return names
}

// choose returns those that are named, in their order; all when none is.
func choose(names []string) ([]measurement, error) {
	all := measurements()
	if len(names) == 0 {
		return all, nil
	}
	for _, n := range names {
		if !slices.ContainsFunc(all, func(m measurement) bool { return m.name == n }) {
			return nil, fmt.Errorf("--only %s: there are %s", n, strings.Join(measurementNames(), ", "))
		}
	}
	return slices.DeleteFunc(all, func(m measurement) bool { return !slices.Contains(names, m.name) }), nil
}

// measure makes one, in a scope of its own: its files, mounts and processes are
// gone when it returns.
func (b *bench) measure(ctx context.Context, m measurement) (results []result, err error) {
	b.doing = m.name
	s, err := b.scope.inner(m.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	results, err = m.run(ctx, b, s)
	for i := range results {
		results[i].Measurement = m.name
	}
	return results, err
}
