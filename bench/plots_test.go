// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReach: 1 is the goal, whichever way it points, and the rounds keep their order.
func TestReach(t *testing.T) {
	figure := summary{Median: 4, Min: 2, Max: 8, Rounds: 3}
	for _, c := range []struct {
		goal goal
		want summary
	}{
		{faster(2), summary{2, 1, 4, 3}},
		{under(4, seconds), summary{1, 0.5, 2, 3}},
		{slowdown(1), summary{0.25, 0.125, 0.5, 3}},
	} {
		if got, ok := c.goal.reach(figure); !ok || got != c.want {
			t.Errorf("%s: %+v, want %+v", c.goal.text, got, c.want)
		}
	}
	if _, ok := exactly(0).reach(summary{}); ok {
		t.Error("nothing of nothing is some part of the goal")
	}
}

// plotted is a report with a figure of each kind.
func plotted(t *testing.T) report {
	t.Helper()
	var all []result
	for _, n := range []int64{1e6, 1e7} {
		lines, err := frameResults(n, []series{{50e-6, 60e-6}, {2e-3, 3e-3}, {40e-6, 50e-6}, {5e-3, 5e-3}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range lines {
			lines[i].Size = n
		}
		all = append(all, lines...)
	}
	return report{Results: append(
		all,
		alone("it <is> & was", memory, series{200e6}, under(150e6, memory)),
		alone("for information", seconds, series{1}, goal{}),
		alone("a count", count, series{1}, exactly(1)),
		without("not had", seconds, series{1}, "them", faster(2), errors.New("gone")),
	)}
}

// TestPlots: what the table has a verdict on is in the picture, and nothing else; the
// markdown shows the files that were written.
func TestPlots(t *testing.T) {
	dir := t.TempDir()
	o := options{markdown: filepath.Join(dir, "b.md"), plots: filepath.Join(dir, "pictures")}
	if err := plotted(t).write(o); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(o.markdown)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"goals.svg":  {"it <is> & was", "goal < 150 MB · 200 MB", "0.75×", "a frame of 10 MB", "Ray's put and get"},
		"frames.svg": {"modelfs", "pickle over a pipe", "multiprocessing.shared_memory", "Ray's put and get", "goal: < 100 µs", "10 MB", "100 µs"},
	} {
		if !strings.Contains(string(page), "](pictures/"+name+")") {
			t.Errorf("the page does not show %s", name)
		}
		words := svgWords(t, filepath.Join(o.plots, name))
		for _, w := range want {
			if !strings.Contains(words, w) {
				t.Errorf("%s does not say %q:\n%s", name, w, words)
			}
		}
		for _, w := range []string{"for information", "a count", "not had"} {
			if strings.Contains(words, w) {
				t.Errorf("%s says %q", name, w)
			}
		}
	}
	if plots := (report{}).plots(); len(plots) > 0 {
		t.Errorf("%d pictures of nothing", len(plots))
	}
}

// svgWords is the text of a picture, a line each.
func svgWords(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var words strings.Builder
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words.String()
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			words.WriteString(string(text) + "\n")
		}
	}
}

// TestFrom: the files of an earlier run are written again, and nothing is measured.
func TestFrom(t *testing.T) {
	dir := t.TempDir()
	first, again := options{json: filepath.Join(dir, "r.json")}, filepath.Join(dir, "again.json")
	if err := plotted(t).write(first); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"--from", first.json, "--json", again, "--plots", dir}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	a, err1 := os.ReadFile(first.json)
	b, err2 := os.ReadFile(again)
	if err := errors.Join(err1, err2); err != nil || string(a) != string(b) {
		t.Errorf("another report: %v\n%s\n%s", err, a, b)
	}
	if _, err := os.Stat(filepath.Join(dir, "goals.svg")); err != nil {
		t.Error(err)
	}
}
