// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

const writingScript = "writing.py"

func needWriting(p plan) room {
	return room{disk: p.writeSize, memory: 5*p.writeSize + 256<<20}
}

// measureWriting: what goes into the mount, by cp as a model and by numpy into a
// session's mapping.
func measureWriting(ctx context.Context, b *bench, s *scope) ([]result, error) {
	length := b.plan.writeSize
	file, err := writeModel(ctx, s.path("from"), "m", length, 8)
	if err != nil {
		return nil, err
	}
	native, err := nativeCopy(ctx, s, file, 2) // cp makes the second
	if err != nil {
		return nil, err
	}
	models, err := s.folder("src")
	if err != nil {
		return nil, err
	}
	d, err := b.mountModels(ctx, s, "mnt", models, 3*length+64<<20)
	if err != nil {
		return nil, err
	}
	copied := []contender{
		{"cp into models/", seconds, func(ctx context.Context) (float64, error) { return copyModel(ctx, d, native) }},
		{"cp onto the tmpfs", seconds, func(ctx context.Context) (float64, error) { return timedCopy(ctx, native, native+".copy") }},
	}
	both, err := b.takeTurns(ctx, b.plan.writeRounds, copied)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(native + ".copy"); err != nil {
		return nil, err
	}
	r, err := beside("cp of "+size(length)+" into models/, until it has its name", seconds, both[0], "cp onto a tmpfs, huge=within_size", both[1], goal{})
	if err != nil {
		return nil, err
	}
	rate := alone(r.What, seconds, both[0], moved(0.8e9, length))
	rate.Bytes, r.Bytes = length, length
	written, err := b.writeMappings(ctx, d, length)
	return append([]result{rate, r}, written...), err
}

// writeMappings: numpy into memory of a session, and into its own.
func (b *bench) writeMappings(ctx context.Context, d *daemon, length int64) ([]result, error) {
	py, err := b.python.library(ctx, framesScript, "stream") // numpy is enough
	if err != nil {
		return nil, err
	}
	passes := strconv.Itoa(b.plan.writePasses)
	write := func(name string, args ...string) contender {
		return contender{name, seconds, func(ctx context.Context) (float64, error) {
			a, err := py.ask(ctx, writingScript, append([]string{name, strconv.FormatInt(length, 10), passes}, args...)...)
			return a.Seconds, err
		}}
	}
	all, err := b.takeTurns(ctx, b.plan.writeRounds, []contender{write("session", d.mount), write("native")})
	if err != nil {
		return nil, err
	}
	r, err := beside("numpy writes "+size(length)+" through a session's mapping", seconds, all[0], "into the process's own memory, as often touched", all[1], throughput(0.9))
	r.Bytes = length
	r.Note = fmt.Sprintf("the median of %s passes a round, after two that touch the pages", passes)
	return []result{r}, err
}

// moved: so many bytes a second, held against the time for n.
func moved(rate float64, n int64) goal {
	return goal{text: fmt.Sprintf("≥ %s GB/s", short(rate/1e9)), limit: float64(n) / rate}
}

// copyModel publishes a weight file as a user does, and takes it away again.
func copyModel(ctx context.Context, d *daemon, file string) (took float64, err error) {
	hidden, shown := d.file("models", ".copied"), d.file("models", "copied")
	defer func() { err = errors.Join(err, os.RemoveAll(hidden), os.RemoveAll(shown)) }()
	if err := os.Mkdir(hidden, 0o755); err != nil {
		return 0, err
	}
	took, err = timedCopy(ctx, file, d.file("models", ".copied", weightFile))
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := os.Rename(hidden, shown); err != nil {
		return 0, err
	}
	return took + time.Since(began).Seconds(), nil
}

func timedCopy(ctx context.Context, from, to string) (float64, error) {
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	cmd := command(ctx, "cp", from, to)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began).Seconds()
	if err != nil {
		return 0, fmt.Errorf("cp %s %s: %w\n%s", from, to, err, out)
	}
	return took, nil
}
