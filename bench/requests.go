// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// countRequests counts what an open and its close make the kernel ask: by the
// daemon's own counters and, where the kernel has it, by its trace of FUSE
// requests, which the daemon has no part in and which sees FLUSH too.
func (b *bench) countRequests(ctx context.Context, s *scope, d *daemon) ([]result, error) {
	n := b.plan.openTraced
	before, err := d.requests()
	if err != nil {
		return nil, err
	}
	between, err := d.requests() // what a look at the counters itself adds
	if err != nil {
		return nil, err
	}
	trace, missing := startTrace(s, d.mount)
	if _, err := b.helper(ctx, "opens", d.weights("m"), "0", strconv.Itoa(n)); err != nil {
		return nil, err
	}
	if missing == nil {
		if err := trace.end(ctx); err != nil {
			return nil, err
		}
	}
	after, err := settled(d)
	if err != nil {
		return nil, err
	}
	open, all := 0.0, map[string]float64{}
	for op := range after {
		all[op] = (after[op] - 2*between[op] + before[op]) / float64(n)
		if op != "release" {
			open += all[op]
		}
	}
	results := []result{alone("requests of an open, by the daemon's counters", count, series{open}, exactly(1))}
	results[0].Note = perOpen(all)
	waits := "requests that a close waits for (FLUSH), by the kernel's trace"
	if missing != nil {
		r := without(waits, count, nil, "the trace", exactly(0), missing)
		r.PeerName = ""
		return append(results, r), nil
	}
	sent, err := trace.counts()
	if err != nil {
		return nil, err
	}
	traced, open := map[string]float64{}, 0
	for op, times := range sent {
		traced[op] = float64(times) / float64(n)
		if op != "FUSE_RELEASE" && op != "FUSE_FLUSH" {
			open += traced[op]
		}
	}
	inKernel := alone("requests of an open, by the kernel's trace", count, series{open}, exactly(1))
	inKernel.Note = perOpen(traced)
	return append(results, inKernel, alone(waits, count, series{traced["FUSE_FLUSH"]}, exactly(0))), nil
}

// settled reads the counters when the last release has come: it may be late.
func settled(d *daemon) (map[string]float64, error) {
	last, err := d.requests()
	for range 50 {
		if err != nil {
			return nil, err
		}
		if last["release"] >= last["open"]-1 { // the look itself is open
			return last, nil
		}
		last, err = d.requests()
	}
	return last, err
}

// perOpen lists what happened about once an open; what a look or the first lookup
// adds is too little to show.
func perOpen(all map[string]float64) string {
	var parts []string
	for _, op := range slices.Sorted(maps.Keys(all)) {
		if all[op] >= 0.005 {
			parts = append(parts, fmt.Sprintf("%s %s", strings.ToLower(strings.TrimPrefix(op, "FUSE_")), digits(all[op])))
		}
	}
	return "per open: " + strings.Join(parts, ", ")
}

// fuseTrace is an instance of the kernel's tracing that records the requests sent
// to one mount.
type fuseTrace struct{ dir string }

// startTrace fails where the kernel has no such event.
func startTrace(s *scope, mount string) (*fuseTrace, error) {
	var st unix.Stat_t
	if err := unix.Stat(mount, &st); err != nil {
		return nil, err
	}
	tracefs, err := s.folder("tracefs")
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("bench", tracefs, "tracefs", 0, ""); err != nil {
		return nil, fmt.Errorf("mount tracefs: %w", err)
	}
	s.add("unmount tracefs", func() error { return unix.Unmount(tracefs, unix.MNT_DETACH) })
	t := &fuseTrace{filepath.Join(tracefs, "instances", fmt.Sprintf("modelfs-bench-%d", os.Getpid()))}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
	}
	s.add("remove the trace", func() error {
		return errors.Join(t.set("tracing_on", "0"), t.set(sendEvent+"/enable", "0"), unix.Rmdir(t.dir))
	})
	return t, errors.Join(
		t.set("buffer_size_kb", "4096"),
		t.set(sendEvent+"/filter", fmt.Sprintf("connection == %d", unix.Minor(st.Dev))),
		t.set(sendEvent+"/enable", "1"),
	)
}

// sendEvent is the event of a request that is put before the daemon.
const sendEvent = "events/fuse/fuse_request_send"

func (t *fuseTrace) set(file, value string) error {
	return os.WriteFile(filepath.Join(t.dir, file), []byte(value), 0o644)
}

// end stops recording when the last release has been sent: that may be late.
func (t *fuseTrace) end(ctx context.Context) error {
	if err := pause(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	return t.set("tracing_on", "0")
}

// counts reads how many requests of each operation there were.
func (t *fuseTrace) counts() (map[string]int, error) {
	text, err := os.ReadFile(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, err
	}
	return countOperations(string(text)), nil
}

// countOperations reads a trace: "… opcode 14 (FUSE_OPEN) len 48".
func countOperations(trace string) map[string]int {
	counts := map[string]int{}
	for line := range strings.Lines(trace) {
		_, rest, found := strings.Cut(line, "fuse_request_send:")
		_, rest, opcode := strings.Cut(rest, "(")
		op, _, whole := strings.Cut(rest, ")")
		if found && opcode && whole {
			counts[op]++
		}
	}
	return counts
}
