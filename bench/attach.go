// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
)

func needAttach(p plan) room {
	var sum int64
	for _, n := range p.attachSizes {
		sum += n
	}
	return room{disk: sum, memory: sum}
}

// measureAttach: open and mmap of a resident file take as long whatever its size.
func measureAttach(ctx context.Context, b *bench, s *scope) ([]result, error) {
	sizes := b.plan.attachSizes
	for i, n := range sizes {
		if _, err := writeModel(ctx, s.path("src"), modelName(i), n, 8); err != nil {
			return nil, err
		}
	}
	d, err := b.mountModels(ctx, s, "mnt", s.path("src"), needAttach(b.plan).memory+64<<20)
	if err != nil {
		return nil, err
	}
	var contenders []contender
	for i, n := range sizes {
		contenders = append(contenders, contender{size(n), seconds, func(ctx context.Context) (float64, error) {
			a, err := b.helper(ctx, "attach", d.weights(modelName(i)), strconv.FormatInt(n, 10), strconv.Itoa(b.plan.attaches/10), strconv.Itoa(b.plan.attaches))
			return a.Seconds, err
		}})
	}
	all, err := b.takeTurns(ctx, b.plan.attachRounds, contenders)
	if err != nil {
		return nil, err
	}
	var results []result
	for i, n := range sizes[1:] {
		r, err := beside("open and mmap of a resident model of "+size(n), seconds, all[i+1], "modelfs, "+size(sizes[0]), all[0], slowdown(1.25))
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func modelName(i int) string { return fmt.Sprintf("m%d", i) }
