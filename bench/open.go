// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
)

func needOpen(p plan) room { return room{disk: p.openSize, memory: 3 * p.openSize} }

// measureOpen: open(2) and close(2) of a resident file, back to back.
func measureOpen(ctx context.Context, b *bench, s *scope) ([]result, error) {
	file, err := writeModel(ctx, s.path("src"), "m", b.plan.openSize, 4)
	if err != nil {
		return nil, err
	}
	d, err := b.mountModels(ctx, s, "mnt", s.path("src"), b.plan.openSize+64<<20)
	if err != nil {
		return nil, err
	}
	native, err := nativeCopy(ctx, s, file, 1)
	if err != nil {
		return nil, err
	}
	plain, err := b.mountPeer(ctx, s, "go-fuse", native, false)
	if err != nil {
		return nil, err
	}
	spared, err := b.mountPeer(ctx, s, "go-fuse-noflush", native, true)
	if err != nil {
		return nil, err
	}

	closes := map[string]series{}
	samples := map[string]series{} // every single one
	opens := func(name, path string) contender {
		return contender{name, seconds, func(ctx context.Context) (float64, error) {
			a, err := b.helper(ctx, "opens", path, strconv.Itoa(b.plan.openWarm), strconv.Itoa(b.plan.opens))
			if err != nil {
				return 0, err
			}
			closes[name] = append(closes[name], series(a.Closes).median())
			samples[name] = append(samples[name], a.Samples...)
			return a.Seconds, nil
		}}
	}
	all, err := b.takeTurns(ctx, b.plan.openRounds, []contender{
		opens("modelfs", d.weights("m")), opens("go-fuse", plain), opens("go-fuse without FLUSH", spared), opens("tmpfs", native),
	})
	if err != nil {
		return nil, err
	}
	what := "open and close of a resident file"
	var results []result
	for i, peer := range []struct {
		name string
		goal goal
	}{
		1: {"an empty go-fuse server: one file, passthrough", slowdown(1.3)},
		2: {"the same, without FLUSH (FOPEN_NOFLUSH)", goal{}},
		3: {"the tmpfs itself", goal{}},
	} {
		if i == 0 {
			continue
		}
		r, err := beside(what, seconds, all[0], peer.name, all[i], peer.goal)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	each := b.plan.opens * b.plan.openRounds
	warm := len(samples["modelfs"]) - each
	results[0].Note = fmt.Sprintf("%d opens each, a round's figure is the median of its own; the median of all is %s for modelfs, %s for the empty server, %s for that without FLUSH",
		each, seconds.format(samples["modelfs"][warm:].median()), seconds.format(samples["go-fuse"][warm:].median()),
		seconds.format(samples["go-fuse without FLUSH"][warm:].median()))
	close, err := beside("of that, close", seconds, closes["modelfs"][1:], "an empty go-fuse server: one file, passthrough", closes["go-fuse"][1:], goal{})
	if err != nil {
		return nil, err
	}
	counted, err := b.countRequests(ctx, s, d)
	return append(append(results, close), counted...), err
}
