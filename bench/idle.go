// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

func needIdle(p plan) room { return room{disk: p.openSize, memory: 2 * p.openSize} }

// measureIdle: a daemon that holds a model and that nobody asks anything.
func measureIdle(ctx context.Context, b *bench, s *scope) ([]result, error) {
	src := s.path("src")
	if _, err := writeModel(ctx, src, "m", b.plan.openSize, 4); err != nil {
		return nil, err
	}
	var rss, cpu series
	for round := range b.plan.idleRounds + 1 {
		d, err := b.mountModels(ctx, s, "mnt", src, b.plan.openSize+64<<20)
		if err != nil {
			return nil, err
		}
		if _, err := b.helper(ctx, "load", d.weights("m")); err != nil {
			return nil, err
		}
		if err := pause(ctx, b.plan.idleSettle); err != nil {
			return nil, err
		}
		if round > 0 {
			before, err := readUse(d.pid())
			if err != nil {
				return nil, err
			}
			if err := pause(ctx, b.plan.idle); err != nil {
				return nil, err
			}
			after, err := readUse(d.pid())
			if err != nil {
				return nil, err
			}
			rss, cpu = append(rss, float64(after.rss)), append(cpu, (after.cpu-before.cpu).Seconds())
			b.say("round %d of %d: memory %s, processor %s in %s", round, b.plan.idleRounds, memory.format(float64(after.rss)), seconds.format(cpu[len(cpu)-1]), b.plan.idle)
		}
		if err := d.stop(); err != nil {
			return nil, err
		}
	}
	return []result{
		alone("an idle daemon with a model of "+size(b.plan.openSize)+": its memory", memory, rss, under(40e6, memory)),
		alone(fmt.Sprintf("an idle daemon: processor time in %s", b.plan.idle), seconds, cpu, goal{}),
	}, nil
}
