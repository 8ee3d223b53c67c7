// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func needTensors(p plan) room {
	return room{disk: int64(p.tensors) * 256, memory: 1 << 30}
}

// measureTensors: a model of very many tensors. Every round has a daemon of its
// own, that has seen nothing yet.
func measureTensors(ctx context.Context, b *bench, s *scope) ([]result, error) {
	src := s.path("src")
	if err := writeTensors(src, "m", b.plan.tensors); err != nil {
		return nil, err
	}
	var first, again, peak, after, index series
	for round := range b.plan.tensorRounds + 1 {
		counts := round > 0 // and is not the one that warms up
		d, err := b.mountModels(ctx, s, "mnt", src, 1<<30)
		if err != nil {
			return nil, err
		}
		dir := d.file("tensors/m")
		var lists [2]float64
		for i := range lists {
			a, err := b.helper(ctx, "names", dir)
			if err != nil {
				return nil, err
			}
			if a.Count < b.plan.tensors {
				return nil, fmt.Errorf("%s lists %d names of %d tensors", dir, a.Count, b.plan.tensors)
			}
			lists[i] = a.Seconds
		}
		began := time.Now()
		if text, err := os.ReadFile(filepath.Join(dir, "index.json")); err != nil || bytes.Count(text, []byte(`"offset"`)) != b.plan.tensors {
			return nil, fmt.Errorf("index.json has not all tensors (%d bytes): %w", len(text), err)
		}
		indexed := time.Since(began)
		used, err := readUse(d.pid())
		if err != nil {
			return nil, err
		}
		b.say("list %s, again %s, index.json %s, memory %s at the most", seconds.format(lists[0]), seconds.format(lists[1]),
			seconds.format(indexed.Seconds()), memory.format(float64(used.peak)))
		if counts {
			if err := pause(ctx, b.plan.tensorIdle); err != nil {
				return nil, err
			}
			idle, err := readUse(d.pid())
			if err != nil {
				return nil, err
			}
			b.say("round %d of %d: memory %s after %s", round, b.plan.tensorRounds, memory.format(float64(idle.rss)), b.plan.tensorIdle)
			first, again, index = append(first, lists[0]), append(again, lists[1]), append(index, indexed.Seconds())
			peak, after = append(peak, float64(used.peak)), append(after, float64(idle.rss))
		}
		if err := d.stop(); err != nil {
			return nil, err
		}
	}
	of := fmt.Sprintf("a model of %d tensors: ", b.plan.tensors)
	return []result{
		alone(of+"the first list of the names in tensors/", seconds, first, under(1, seconds)),
		alone(of+"the second list", seconds, again, goal{}),
		alone(of+"index.json, read whole", seconds, index, goal{}),
		alone(of+"the daemon's memory at the most", memory, peak, under(150e6, memory)),
		alone(of+fmt.Sprintf("the daemon's memory %s later", b.plan.tensorIdle), memory, after, under(60e6, memory)),
	}, nil
}

func needModels(p plan) room {
	return room{disk: int64(p.models) * 16 << 10, memory: 1 << 30}
}

// measureModels: a source of very many models, and ls as people type it.
func measureModels(ctx context.Context, b *bench, s *scope) ([]result, error) {
	src := s.path("src")
	if err := writeModels(ctx, src, b.plan.models); err != nil {
		return nil, err
	}
	var names, long, native, ready, peak series
	for round := range b.plan.modelRounds + 1 {
		d, err := b.mountModels(ctx, s, "mnt", src, 1<<30)
		if err != nil {
			return nil, err
		}
		var took [3]float64
		for i, args := range [][]string{{"-1", d.file("models")}, {"-lR", d.file("models")}, {"-lR", src}} {
			if took[i], err = b.timeList(ctx, args...); err != nil {
				return nil, err
			}
		}
		used, err := readUse(d.pid())
		if err != nil {
			return nil, err
		}
		b.say("round %d of %d: ready %s, ls %s, ls -lR %s, on disk %s", round, b.plan.modelRounds, seconds.format(d.ready.Seconds()),
			seconds.format(took[0]), seconds.format(took[1]), seconds.format(took[2]))
		if round > 0 {
			names, long, native = append(names, took[0]), append(long, took[1]), append(native, took[2])
			ready, peak = append(ready, d.ready.Seconds()), append(peak, float64(used.peak))
		}
		if err := d.stop(); err != nil {
			return nil, err
		}
	}
	of := fmt.Sprintf("%d models: ", b.plan.models)
	inLong, err := beside(of+"the first ls -lR", seconds, long, "ls -lR of the folder on disk", native, goal{})
	if err != nil {
		return nil, err
	}
	whole := under(10, seconds)
	inLong.Goal = whole.text
	inLong.hold(whole, inLong.Ours)
	return []result{
		alone(of+"the first ls", seconds, names, under(1, seconds)),
		inLong,
		alone(of+"from the start until the mount is ready", seconds, ready, goal{}),
		alone(of+"the daemon's memory at the most", memory, peak, goal{}),
	}, nil
}

// timeList times an ls from outside, its start too: that is what a person waits.
func (b *bench) timeList(ctx context.Context, args ...string) (float64, error) {
	cmd := command(ctx, "ls", args...)
	var lines counter
	cmd.Stdout = &lines
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("ls %q: %w", args, err)
	}
	took := time.Since(began)
	if int(lines) < b.plan.models {
		return 0, fmt.Errorf("ls %q printed %d lines for %d models", args, lines, b.plan.models)
	}
	return took.Seconds(), nil
}

// counter counts the lines that are written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}

// pause waits, or gives up when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
