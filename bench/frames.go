// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
)

const framesScript = "frames.py"

func needFrames(p plan) room {
	// Ray's store holds some; the pickle is there three times.
	largest := p.frameSizes[len(p.frameSizes)-1]
	return room{memory: 8*largest + 512<<20}
}

// measureFrames: a frame from one process to another, on top of producing and
// reading it, by a stream and by what people use.
func measureFrames(ctx context.Context, b *bench, s *scope) ([]result, error) {
	py, err := b.python.library(ctx, framesScript, "stream")
	if err != nil {
		return nil, err
	}
	models, err := s.folder("src")
	if err != nil {
		return nil, err
	}
	d, err := b.mountModels(ctx, s, "mnt", models, 6*b.plan.frameSizes[len(b.plan.frameSizes)-1]+64<<20)
	if err != nil {
		return nil, err
	}
	withRay, missing := b.python.library(ctx, framesScript, "ray")
	if missing != nil {
		missing = fmt.Errorf("it was not run: %w", missing)
	}
	raysFolder, err := rayFolder(s)
	if err != nil {
		return nil, err
	}
	var results []result
	for _, n := range b.plan.frameSizes {
		frames := func(py *library, method, folder string) contender {
			return contender{fmt.Sprintf("%s of %s MB", method, digits(float64(n)/1e6)), seconds, func(ctx context.Context) (float64, error) {
				a, err := py.ask(ctx, framesScript, method, strconv.FormatInt(n, 10), strconv.Itoa(b.plan.framesOf(n)), folder)
				return a.Seconds, err
			}}
		}
		contenders := []contender{frames(py, "stream", d.mount), frames(py, "pickle", ""), frames(py, "shared_memory", "")}
		if missing == nil {
			contenders = append(contenders, frames(withRay, "ray", raysFolder))
		}
		all, err := b.takeTurns(ctx, b.plan.frameRounds, contenders)
		if err != nil {
			return results, err
		}
		lines, err := frameResults(n, all, missing)
		if err != nil {
			return results, err
		}
		for i := range lines {
			lines[i].Size = n
		}
		results = append(results, lines...)
	}
	results[0].Note = fmt.Sprintf("from the last byte written until the consumer, which sleeps before, has an array of the frame; the median of %d frames a round, or of fewer large ones; both sides in Python", b.plan.frames)
	return results, nil
}

// rayFolder is where Ray keeps its logs and sockets: in /tmp, because a socket's path
// has 107 bytes at the most, of which Ray takes 62.
func rayFolder(s *scope) (string, error) {
	dir, err := os.MkdirTemp("/tmp", "ray-")
	if err == nil {
		s.add("remove "+dir, func() error { return os.RemoveAll(dir) })
	}
	return dir, err
}

func frameResults(n int64, all []series, missing error) ([]result, error) {
	what := fmt.Sprintf("a frame of %s MB from process to process, beside writing and reading it", digits(float64(n)/1e6))
	pickled := goal{}
	if n >= 10_000_000 {
		pickled = faster(20)
	}
	results := []result{alone(what, seconds, all[0], under(100e-6, seconds))}
	pipe, err1 := beside(what, seconds, all[0], "pickle over a pipe (multiprocessing)", all[1], pickled)
	block, err2 := beside(what, seconds, all[0], "multiprocessing.shared_memory, one block filled in place, told by a pipe", all[2], goal{})
	results = append(results, pipe, block)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	const ray = "Ray's put and get, the reference given to an actor"
	if missing != nil {
		return append(results, without(what, seconds, all[0], ray, faster(10), missing)), nil
	}
	line, err := beside(what, seconds, all[0], ray, all[3], faster(10))
	return append(results, line), err
}
