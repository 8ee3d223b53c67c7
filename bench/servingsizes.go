// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Of the contenders of a size, in this order.
const (
	byReference = iota
	itself
	sumAlone
	inline
	inlineAio
	inlineMLServer
	sizeContenders
)

// repetitions is how often a contender calls in a round: those that take longer less.
func repetitions(contender int, n int64) (warm, times int) {
	switch {
	case contender == byReference, contender == itself:
		return 50, 300
	case contender == inlineMLServer && n > 50e6:
		return 0, 1 // 15 s
	case n > 50e6:
		return 1, 4
	case contender == inlineMLServer && n > 5e6:
		return 0, 2
	case contender == inlineMLServer:
		return 1, 5
	case n > 5e6:
		return 2, 12
	}
	return 5, 40
}

// sizes: one caller, with inputs of each size.
func (m *serving) sizes(ctx context.Context) ([]result, error) {
	paths, err := m.writeInputs(m.plan.servingSizes)
	if err != nil {
		return nil, err
	}
	var results []result
	for i, n := range m.plan.servingSizes {
		rounds := m.plan.servingRounds
		if n > 50e6 {
			rounds = m.plan.servingLargeRounds
		}
		all, err := m.takeTurns(ctx, rounds, m.sizeContenders(n, paths[i]))
		if err != nil {
			return results, err
		}
		lines, err := sizeResults(n, all)
		if err != nil {
			return results, err
		}
		results = append(results, lines...)
	}
	return results, nil
}

func (m *serving) sizeContenders(n int64, path string) []contender {
	call := func(which int, name string, s *inferenceServer, rest ...string) contender {
		warm, times := repetitions(which, n)
		words := append([]string{"infer", s.address, fmt.Sprint(n), strconv.Itoa(warm), strconv.Itoa(times)}, rest...)
		return contender{name, seconds, func(ctx context.Context) (float64, error) {
			a, err := m.helper(ctx, words...)
			return a.Seconds, err
		}}
	}
	list := make([]contender, sizeContenders)
	list[byReference] = call(byReference, "by reference", m.one, path)
	list[inline] = call(inline, "inline", m.one)
	list[inlineAio] = call(inlineAio, m.aio.name, m.aio)
	list[inlineMLServer] = call(inlineMLServer, m.mlserver.name, m.mlserver)
	list[itself] = contender{"1 KB by itself", seconds, func(ctx context.Context) (float64, error) {
		warm, times := repetitions(itself, n)
		a, err := m.helper(ctx, "answer", m.one.address, strconv.Itoa(warm), strconv.Itoa(times))
		return a.Seconds, err
	}}
	list[sumAlone] = contender{"the sum alone", seconds, func(ctx context.Context) (float64, error) {
		a, err := m.python.ask(ctx, servingScript, "sum", m.daemon.file(path), "100")
		return a.Seconds, err
	}}
	return list
}

// sizeResults are the lines of a size.
func sizeResults(n int64, all []series) ([]result, error) {
	mb := digits(float64(n) / 1e6)
	reference := fmt.Sprintf("a call with %s MB by reference", mb)
	inMessage := fmt.Sprintf("a call with %s MB in the message", mb)
	large, within := goal{}, 250*time.Microsecond
	switch {
	case n >= 10_000_000 && n < 50_000_000:
		large = faster(1000)
	case n < 10_000_000:
		large = faster(50)
	}
	a, err1 := beside(reference, seconds, all[byReference], "MLServer, in the message", all[inlineMLServer], large)
	b, err2 := beside(inMessage, seconds, all[inline], "MLServer", all[inlineMLServer], faster(12))
	c, err3 := beside(inMessage, seconds, all[inline], "a server of grpc.aio", all[inlineAio], faster(1))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	b.Bytes, c.Bytes = n, n
	above := make(series, len(all[byReference]))
	for i := range above {
		above[i] = all[byReference][i] - all[itself][i] - all[sumAlone][i]
	}
	own := alone(reference+", less 1 KB that the server answers itself, less the sum", seconds, above, under(within.Seconds(), seconds))
	own.Note = fmt.Sprintf("the server answers 1 KB itself in %s; the sum takes %s in Python, over the same file", seconds.format(all[itself].median()), seconds.format(all[sumAlone].median()))
	return []result{a, own, b, c}, nil
}
