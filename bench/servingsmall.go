// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// small: one caller in Python, of 1 KB.
func (m *serving) small(ctx context.Context) ([]result, error) {
	var own series
	counting := false
	call := func(name string, s *inferenceServer, mount ...string) contender {
		return contender{name, seconds, func(ctx context.Context) (float64, error) {
			words := append([]string{"call", s.address, strconv.Itoa(m.plan.servingCalls)}, mount...)
			if len(mount) == 0 {
				a, err := m.python.ask(ctx, servingScript, words...)
				return a.Seconds, err
			}
			before, err := readOverhead(ctx, s.metrics)
			if err != nil {
				return 0, err
			}
			a, err := m.python.ask(ctx, servingScript, words...)
			if err != nil {
				return 0, err
			}
			after, err := readOverhead(ctx, s.metrics)
			if err != nil {
				return 0, err
			}
			if counting {
				own = append(own, after.since(before).median())
			}
			counting = true
			return a.Seconds, nil
		}}
	}
	all, err := m.takeTurns(ctx, m.plan.servingRounds, []contender{
		call("by reference", m.one, m.daemon.mount), call("inline", m.one), call("MLServer", m.mlserver),
	})
	if err != nil {
		return nil, err
	}
	const what = "a call with 1 KB by reference, from Python to Python"
	a, err1 := beside(what, seconds, all[0], "MLServer, modelfs.Client, in the message", all[2], slowdown(0.4))
	b, err2 := beside("a call with 1 KB in the message, from Python to Python", seconds, all[1], "MLServer", all[2], goal{})
	c := alone("the server's own part of such a call: from decoded to encoded, less waiting for the handler", seconds, own, under(30e-6, seconds))
	c.Note = "the median by the histogram modelfs_inference_overhead_seconds of its metrics"
	return []result{a, b, c}, errors.Join(err1, err2)
}

// memory: of a handler after all those calls, beside a Python that has what it imports.
func (m *serving) memory(ctx context.Context) ([]result, error) {
	bare, err := m.python.ask(ctx, servingScript, "memory")
	if err != nil {
		return nil, err
	}
	var beyond, server series
	for _, s := range []*inferenceServer{m.one, m.batched} {
		own, err := ownMemory(s.pid())
		if err != nil {
			return nil, err
		}
		server = append(server, float64(own))
		pids := s.handlers()
		if len(pids) != 1 {
			return nil, fmt.Errorf("%s has %d handlers", s.name, len(pids))
		}
		if own, err = ownMemory(pids[0]); err != nil {
			return nil, err
		}
		beyond = append(beyond, float64(own-bare.RSS))
	}
	a := alone("a handler's own memory after all that, beyond Python and numpy", memory, beyond, under(30e6, memory))
	a.Note = fmt.Sprintf("RssAnon of two handlers; a Python with numpy has %s", memory.format(float64(bare.RSS)))
	b := alone("the server's own memory after all that", memory, server, goal{})
	return []result{a, b}, nil
}

// overhead is a histogram of the server's own part: how many calls took at most so long.
type overhead []struct{ bound, count float64 }

// readOverhead reads it from a server's metrics.
func readOverhead(ctx context.Context, url string) (overhead, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return parseOverhead(response.Body)
}

func parseOverhead(r io.Reader) (overhead, error) {
	var h overhead
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "modelfs_inference_overhead_seconds_bucket{")
		if !ok {
			continue
		}
		_, rest, _ = strings.Cut(rest, `le="`)
		le, value, _ := strings.Cut(rest, `"} `)
		bound, err1 := strconv.ParseFloat(le, 64)
		count, err2 := strconv.ParseFloat(value, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", lines.Text(), err)
		}
		h = append(h, struct{ bound, count float64 }{bound, count})
	}
	if len(h) == 0 {
		return nil, errors.Join(errors.New("metrics: there is no modelfs_inference_overhead_seconds"), lines.Err())
	}
	return h, lines.Err()
}

// since is what has come since an earlier look.
func (h overhead) since(before overhead) overhead {
	out := make(overhead, len(h))
	copy(out, h)
	for i := range min(len(out), len(before)) {
		out[i].count -= before[i].count
	}
	return out
}

// median is taken to lie within its bucket as if that were filled evenly.
func (h overhead) median() float64 {
	half := h[len(h)-1].count / 2
	var bound, count float64
	for _, b := range h {
		if b.count >= half && b.count > count {
			return bound + (b.bound-bound)*(half-count)/(b.count-count)
		}
		bound, count = b.bound, b.count
	}
	return bound
}
