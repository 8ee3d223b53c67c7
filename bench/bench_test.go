// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders"
)

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		of   series
		want summary
	}{
		{nil, summary{}},
		{series{3}, summary{3, 3, 3, 1}},
		{series{5, 1, 3}, summary{3, 1, 5, 3}},
		{series{4, 1, 3, 2}, summary{2.5, 1, 4, 4}},
	} {
		before := slices.Clone(c.of)
		if got := c.of.summary(); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.of, got, c.want)
		}
		if !slices.Equal(before, c.of) {
			t.Errorf("the rounds of %v changed places: %v", before, c.of)
		}
	}
	if got := fastest([]series{{3, 3, 1}, {2, 2, 9}, {4}}); got != 1 {
		t.Errorf("the fastest is %d, want the one with the least median", got)
	}
}

// TestRatios: each round is divided by itself, so what slows a round for both is
// in no ratio.
func TestRatios(t *testing.T) {
	ours, peer := series{1, 10, 2}, series{2, 20, 4}
	for _, c := range []struct {
		goal goal
		want float64
		met  bool
	}{
		{slowdown(1.15), 0.5, true}, {slowdown(0.4), 0.5, false},
		{faster(2), 2, true}, {faster(2.5), 2, false},
		{throughput(0.85), 2, true}, {throughput(3), 2, false},
	} {
		r, err := beside("it", seconds, ours, "them", peer, c.goal)
		if err != nil || *r.Ratio != (summary{c.want, c.want, c.want, 3}) || *r.Met != c.met {
			t.Errorf("%s: ratio %+v, met %v, %v; want %v, %v", c.goal.text, r.Ratio, *r.Met, err, c.want, c.met)
		}
	}
	if _, err := ours.over(peer[:2]); !errors.Is(err, errRounds) {
		t.Errorf("series of other rounds: %v", err)
	}
	if _, err := ours.over(series{1, 0, 1}); err == nil {
		t.Error("it divides by nothing")
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		goal  goal
		value float64
		met   bool
	}{
		{under(1, seconds), 0.9, true}, {under(1, seconds), 1.1, false},
		{exactly(1), 1, true}, {exactly(1), 1.1, false}, {exactly(0), 1, false},
		{under(40e6, memory), 39e6, true},
	} {
		if r := alone("it", seconds, series{c.value}, c.goal); r.Met == nil || *r.Met != c.met {
			t.Errorf("%v %s: %v, want %v", c.value, c.goal.text, r.Met, c.met)
		}
	}
	if r := alone("it", seconds, series{1}, goal{}); r.Met != nil {
		t.Error("no goal, and met")
	}
	if r := without("it", seconds, series{1}, "them", faster(2), io.EOF); r.Met != nil || !strings.Contains(r.Note, "EOF") {
		t.Errorf("no peer: met %v, %q", r.Met, r.Note)
	}
}

func TestFormat(t *testing.T) {
	for want, got := range map[string]string{
		"583 µs":                   seconds.format(583.4e-6),
		"6.10 ms":                  seconds.format(6.1e-3),
		"25.3 s":                   seconds.format(25.34),
		"0 s":                      seconds.format(0),
		"40 MB":                    memory.format(40e6),
		"25.3 GB":                  memory.format(25.3e9),
		"1.06":                     count.format(1.06),
		"100000":                   count.format(1e5),
		"6 ms (5 ms to 7 ms)":      seconds.spread(series{.005, .006, .007}.summary()),
		"1 s":                      seconds.spread(series{1}.summary()),
		"2 GiB":                    size(2 << 30),
		"1.25 GiB":                 size(5 << 28),
		"81 MiB":                   size(81<<20 + 5),
		"4 KiB":                    size(4096),
		"≤ 1.15× its time":         slowdown(1.15).text,
		"≥ 0.85 of its throughput": throughput(0.85).text,
		"< 150 MB":                 under(150e6, memory).text,
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestMarkdown: the table has a line for each result with seven columns, whatever
// is in a name, and says what is missing.
func TestMarkdown(t *testing.T) {
	near, err := beside("a|b", seconds, series{1, 2, 3}, "them", series{2, 4, 6}, faster(1.5))
	if err != nil {
		t.Fatal(err)
	}
	near.Bytes = 4e9
	far := alone("memory", memory, series{200e6}, under(150e6, memory))
	missing := without("cold", seconds, series{1}, "it", faster(2), errors.New("not\nhere"))
	neither := without("headers", seconds, nil, "torch", faster(3), errors.New("no torch"))
	var b strings.Builder
	r := report{Quick: true, Results: []result{near, far, missing, neither}, Failures: []failure{{"idle", "broken"}}}
	if err := r.markdown(&b, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`| a\|b | 2 s (1 s to 3 s), 2 GB/s | 4 s (2 s to 6 s), 1 GB/s | them | 2× (2 to 2) | ≥ 1.5× faster | yes |`,
		`| memory | 200 MB |  |  |  | < 150 MB | **no** |`,
		`| cold | 1 s |  | it |  | ≥ 2× faster | not measured |`,
		`| headers |  |  | torch |  | ≥ 3× faster | not measured |`, "- headers: torch was not measured: no torch",
		"- cold: it was not measured: not",
		"- idle: broken", "A quick run",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestReportIsJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	want := report{Results: []result{alone("it", seconds, series{1, 2}, goal{})}}
	if err := want.write(options{json: file, markdown: ""}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(text, &got); err != nil || got.Results[0] != want.Results[0] {
		t.Errorf("%+v, %v", got, err)
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); len(files) != 1 {
		t.Errorf("left beside it: %q", files)
	}
}

func TestChoose(t *testing.T) {
	all, err := choose(nil)
	if err != nil || len(all) != len(measurements()) {
		t.Errorf("without names %d, %v", len(all), err)
	}
	some, err := choose([]string{"open", "touch"})
	if err != nil || len(some) != 2 || some[0].name != "touch" {
		t.Errorf("two names give %d, %v", len(some), err)
	}
	if _, err := choose([]string{"touch", "none"}); err == nil || !strings.Contains(err.Error(), "idle") {
		t.Errorf("a wrong name: %v, want the right ones", err)
	}
}

// TestScope: the opposite order, all of it although some fails, once.
func TestScope(t *testing.T) {
	s, err := newScope(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.inner("in")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	note := func(name string, err error) func() error {
		return func() error { order = append(order, name); return err }
	}
	s.add("a", note("a", nil))
	in.add("b", note("b", nil))
	s.add("c", note("c", io.EOF))
	if err := s.close(); !errors.Is(err, io.EOF) {
		t.Errorf("close: %v", err)
	}
	if err := errors.Join(s.close(), in.close()); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if !slices.Equal(order, []string{"c", "a", "b"}) {
		t.Errorf("taken back in the order %q", order)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", s.dir, err)
	}
}

// TestWriteModel: the file has the size that was asked for, and is safetensors.
func TestWriteModel(t *testing.T) {
	const length, tensors = 1 << 20, 7
	path, err := writeModel(t.Context(), t.TempDir(), "m", length, tensors)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || len(text) != length {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	head := binary.LittleEndian.Uint64(text)
	var header map[string]struct {
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(text[8:8+head], &header); err != nil || len(header) != tensors {
		t.Fatalf("%d tensors, %v", len(header), err)
	}
	var end int64
	for _, tensor := range header {
		if tensor.Offsets[1]-tensor.Offsets[0] != 4*tensor.Shape[0] {
			t.Errorf("%+v", tensor)
		}
		end = max(end, tensor.Offsets[1])
	}
	if int64(head)+8+end != length {
		t.Errorf("header %d, data to %d", head, end)
	}
}

// TestLargeFiles: their lists are what the loaders make of them, and the rest of the
// 40 GB is not read.
func TestLargeFiles(t *testing.T) {
	for _, l := range largeFiles(40e9) {
		path := filepath.Join(t.TempDir(), l.name)
		if err := errors.Join(os.WriteFile(path, l.header, 0o600), os.Truncate(path, l.size)); err != nil {
			t.Fatal(err)
		}
		before := debug.SetGCPercent(100)
		a, err := helpIndex(path)
		debug.SetGCPercent(before)
		if err != nil || a.Count != largeTensors || a.Sum < 40e9/2-largeTensors*32 {
			t.Errorf("%s: %d tensors, %d elements, %v", l.name, a.Count, a.Sum, err)
		}
		if a.Bytes < int64(len(l.header)) || a.Bytes > int64(len(l.header))+largeSlack {
			t.Errorf("%s: %d bytes were read, the header has %d", l.name, a.Bytes, len(l.header))
		}
	}
}

// TestHeaderPeers: each has a format that peers/headers.py knows, and a file that
// modelfs reads; a list that is not whole is no figure.
func TestHeaderPeers(t *testing.T) {
	script, err := os.ReadFile("peers/headers.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range headerPeers() {
		if kind, ok := loaders.Of(p.file); !ok || kind.Parse == nil || !strings.HasPrefix(headerWhat(p, 7), kind.Name) {
			t.Errorf("%s: %+v", p.file, kind)
		}
		if !bytes.Contains(script, []byte(`"`+p.format+`": Format(`)) {
			t.Errorf("peers/headers.py has no %s", p.format)
		}
	}
	for _, c := range []struct {
		answer answer
		ok     bool
	}{
		{answer{Seconds: 1, Count: 3, Sum: 3 * headerElements}, true},
		{answer{Seconds: 1, Count: 2, Sum: 3 * headerElements}, false},
		{answer{Seconds: 1, Count: 3, Sum: 2 * headerElements}, false},
	} {
		_, err := listing(3, "it", func(context.Context) (answer, error) { return c.answer, nil }).run(t.Context())
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.answer, err)
		}
	}
}

func TestCountOperations(t *testing.T) {
	got := countOperations(`# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
           bench-917     [000] .....   100.000001: fuse_request_send: connection 55 req 2 opcode 14 (FUSE_OPEN) len 48
 kworker/0:1-12    [001] .....   100.000002: fuse_request_send: connection 55 req 4 opcode 18 (FUSE_RELEASE) len 64
           bench-917     [000] .....   100.000003: fuse_request_send: connection 55 req 6 opcode 14 (FUSE_OPEN) len 48
`)
	if want := map[string]int{"FUSE_OPEN": 2, "FUSE_RELEASE": 1}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRoom(t *testing.T) {
	if got := (room{1, 5}).both(room{3, 2}); got != (room{3, 5}) {
		t.Errorf("%+v", got)
	}
	err := room{1 << 60, 1 << 60}.check(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "--dir") || !strings.Contains(err.Error(), "memory") {
		t.Errorf("too much: %v, want both said", err)
	}
}

// TestFrameResults: Ray is a line in any case; the one without it says why.
func TestFrameResults(t *testing.T) {
	all := []series{{50e-6}, {2e-3}, {60e-6}, {1e-3}}
	with, err := frameResults(10_000_000, all, nil)
	if err != nil || len(with) != 4 || with[3].Met == nil || !*with[3].Met || !*with[1].Met {
		t.Errorf("with Ray %+v, %v", with, err)
	}
	alone, err := frameResults(1_000_000, all[:3], io.EOF)
	if err != nil || len(alone) != 4 || alone[3].Met != nil || !strings.Contains(alone[3].Note, "EOF") || alone[1].Goal != "" {
		t.Errorf("without Ray %+v, %v", alone, err)
	}
	if g := moved(0.8e9, 400e6); !g.met(0.49) || g.met(0.51) || g.text != "≥ 0.8 GB/s" {
		t.Errorf("0.8 GB/s of 0.4 GB: %+v", g)
	}
}

// TestForker: one answer a line, and what a script says when it ends instead.
func TestForker(t *testing.T) {
	s, err := newScope(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "import sys\nfor line in sys.stdin:\n    if line == 'end\\n': sys.exit('it broke')\n    print('{\"count\": %d}' % len(line.split('\\t')), flush=True)\n"
	if err := os.WriteFile(filepath.Join(dir, "s.py"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	f, err := (&library{program: program, source: dir, scripts: dir}).forker(t.Context(), s, "s.py")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := f.ask("one", "two words"); err != nil || a.Count != 2 {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := f.ask("end"); !errors.Is(err, io.EOF) {
		t.Errorf("it ended, and said %+v, %v", a, err)
	}
	if err := s.close(); err == nil {
		t.Error("its exit status is not told")
	}
}
