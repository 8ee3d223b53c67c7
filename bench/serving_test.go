// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// TestSizeResults: what a call by reference costs is without what the server takes for
// itself and without the sum, and 1 MB and 10 MB have goals of their own.
func TestSizeResults(t *testing.T) {
	all := make([]series, sizeContenders)
	all[byReference], all[itself], all[sumAlone] = series{400e-6, 900e-6}, series{100e-6, 700e-6}, series{50e-6, 60e-6}
	all[inline], all[inlineAio], all[inlineMLServer] = series{1e-3, 1e-3}, series{2e-3, 3e-3}, series{60e-3, 60e-3}
	for n, want := range map[int64]struct {
		goal string
		met  bool
	}{
		1_000_000: {"≥ 50× faster", true}, 10_000_000: {"≥ 1000× faster", false}, 100_000_000: {"", false},
	} {
		lines, err := sizeResults(n, all)
		if err != nil || len(lines) != 4 {
			t.Fatalf("%d lines, %v", len(lines), err)
		}
		if l := lines[0]; l.Goal != want.goal || want.goal != "" && *l.Met != want.met || want.goal == "" && l.Met != nil {
			t.Errorf("%d bytes by reference: %+v", n, l)
		}
		if l := lines[1]; math.Abs(l.Ours.Median-195e-6) > 1e-9 || !*l.Met || l.Goal != "< 250 µs" {
			t.Errorf("above the server itself: %+v", l)
		}
		if a, b := lines[2], lines[3]; !*a.Met || !*b.Met || a.Ratio.Median != 60 || b.Ratio.Median != 2.5 || a.Bytes != n {
			t.Errorf("in the message: %+v and %+v", a, b)
		}
	}
	all[itself] = series{1}
	all[inlineAio] = series{1}
	if _, err := sizeResults(1e6, all); err == nil {
		t.Error("series of other rounds are compared")
	}
}

// TestLoadResults: rates are compared as rates, and without ghz its line says why.
func TestLoadResults(t *testing.T) {
	all := []series{{10_000}, {15_000}, {900}, {2500}, {6000}, {500}}
	lines, err := loadResults(all, nil)
	if err != nil || len(lines) != 4 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	for i, want := range []bool{true, true, false} {
		if *lines[i].Met != want {
			t.Errorf("%s: %+v", lines[i].PeerName, lines[i])
		}
	}
	if lines[3].Ratio.Median != 12 || lines[3].Met != nil {
		t.Errorf("ghz: %+v", lines[3])
	}
	lines, err = loadResults(all[:4], io.EOF)
	if err != nil || len(lines) != 4 || !strings.Contains(lines[3].Note, "EOF") {
		t.Errorf("without ghz: %+v, %v", lines, err)
	}
	if got := rate.format(10468.3); got != "10468 /s" {
		t.Errorf("a rate is %s", got)
	}
}

// TestOverhead: the median of what came between two looks at the metrics.
func TestOverhead(t *testing.T) {
	text := func(counts ...string) io.Reader {
		var b strings.Builder
		b.WriteString("# HELP modelfs_inference_overhead_seconds it\n")
		for i, le := range []string{"1e-06", "2e-06", "4e-06", "+Inf"} {
			b.WriteString(`modelfs_inference_overhead_seconds_bucket{model="sum",version="1",le="` + le + `"} ` + counts[i] + "\n")
		}
		b.WriteString(`modelfs_inference_overhead_seconds_sum{model="sum"} 3` + "\n")
		return strings.NewReader(b.String())
	}
	before, err1 := parseOverhead(text("5", "5", "5", "6"))
	after, err2 := parseOverhead(text("5", "7", "13", "15"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	// 2 in the second bucket, 6 in the third, 1 beyond: the middle of 9 is 2.5 of 6 into the third.
	if got, want := after.since(before).median(), 2e-6+2e-6*2.5/6; math.Abs(got-want) > 1e-12 {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := before.since(overhead{}).median(), 0.6e-6; math.Abs(got-want) > 1e-12 {
		t.Errorf("the first look: %v, want %v", got, want)
	}
	if _, err := parseOverhead(strings.NewReader("up 1\n")); err == nil {
		t.Error("metrics without it are taken")
	}
}

// TestClosedLoop: what is counted was answered within the time, and an error is told.
func TestClosedLoop(t *testing.T) {
	a, err := closedLoop(3, 50*time.Millisecond, func(context.Context) error {
		time.Sleep(time.Millisecond)
		return nil
	})
	if err != nil || a.Count < 1 || a.Count > 150 || a.P99 < 1e-3 || a.Seconds != 0.05 {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := closedLoop(3, 50*time.Millisecond, func(context.Context) error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("an error: %v", err)
	}
}

// TestRequests: all that callers can be told to send.
func TestRequests(t *testing.T) {
	for what, bytes := range map[string]int{"vector": smallInput, "row": smallInput, "ids": 8 * minilmTokens} {
		r, check, err := requestOf(what)
		if err != nil || check == nil || len(r.Inputs[0].Data) != bytes {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	if _, _, err := requestOf("none"); err == nil {
		t.Error("anything can be sent")
	}
}
