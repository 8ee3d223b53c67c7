// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/modelfs/modelfs/loaders"
)

// headerPeer is a format's own library, which writes the file that both read.
type headerPeer struct {
	format string // to peers/headers.py
	file   string // whose extension tells modelfs
	goal   goal
}

// headerPeers lists them. safetensors, GGUF and NumPy read headers and nothing else,
// onnx decodes the whole model, torch makes every tensor.
func headerPeers() []headerPeer {
	return []headerPeer{
		{"safetensors", "model.safetensors", slowdown(1.5)},
		{"gguf", "model.gguf", slowdown(1.5)},
		{"torch", "model.pt", faster(3)},
		{"torch-mmap", "mapped.pt", faster(3)},
		{"onnx", "model.onnx", slowdown(1.5)},
		{"npz", "model.npz", slowdown(1.5)},
		{"npz-compressed", "compressed.npz", slowdown(1.5)},
	}
}

func needHeaders(p plan) room {
	return room{disk: int64(p.headerTensors) * 16 << 10, memory: 1 << 30}
}

// measureHeaders: the list of a file's tensors, in the page cache, beside what the
// format's own library takes to make its own; and that of files of 40 GB.
func measureHeaders(ctx context.Context, b *bench, s *scope) ([]result, error) {
	var results []result
	var contenders []contender
	n := b.plan.headerTensors
	measured := headerPeers()[:0]
	names := map[string]string{}
	for _, p := range headerPeers() {
		what := headerWhat(p, n)
		h, err := b.python.headers(ctx, p.format)
		if err != nil {
			b.say("%s: not measured: %v", p.format, err)
			results = append(results, without(what, seconds, nil, p.format, p.goal, err))
			continue
		}
		path := s.path(p.file)
		if _, err := h.ask(ctx, "--write", strconv.Itoa(n), path); err != nil {
			return nil, err
		}
		names[p.format] = h.version
		measured = append(measured, p)
		contenders = append(contenders,
			listing(n, "modelfs "+p.format, func(ctx context.Context) (answer, error) { return b.helper(ctx, "index", path) }),
			listing(n, p.format, func(ctx context.Context) (answer, error) { return h.ask(ctx, path) }))
	}
	all, err := b.takeTurns(ctx, b.plan.headerRounds, contenders)
	if err != nil {
		return nil, err
	}
	for i, p := range measured {
		r, err := beside(headerWhat(p, n), seconds, all[2*i], names[p.format], all[2*i+1], p.goal)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	large, err := measureLarge(ctx, b, s)
	return append(results, large...), err
}

func headerWhat(p headerPeer, n int) string {
	kind, _ := loaders.Of(p.file)
	name := kind.Name
	if strings.HasPrefix(p.file, "compressed") {
		name += ", compressed"
	}
	return fmt.Sprintf("%s: the list of %d tensors", name, n)
}

// listing is a contender that must have found all n tensors of the file.
func listing(n int, name string, run func(context.Context) (answer, error)) contender {
	return contender{name, seconds, func(ctx context.Context) (float64, error) {
		a, err := run(ctx)
		if err != nil {
			return 0, err
		}
		if want := uint64(n * headerElements); a.Count != n || a.Sum != want {
			return 0, fmt.Errorf("it found %d tensors with %d elements, not %d with %d", a.Count, a.Sum, n, want)
		}
		return a.Seconds, nil
	}}
}

// headerElements is how many a tensor has in the files of peers/headers.py.
const headerElements = 4 * 5

// helpIndex lists a file's tensors as the daemon does, which collects its garbage.
func helpIndex(path string) (answer, error) {
	debug.SetGCPercent(100)
	before, err := bytesRead()
	if err != nil {
		return answer{}, err
	}
	began := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return answer{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return answer{}, err
	}
	ix, err := loaders.Parse(path, f, st.Size())
	took := time.Since(began)
	if err != nil {
		return answer{}, err
	}
	after, err := bytesRead()
	a := answer{Seconds: took.Seconds(), Bytes: after - before, Count: len(ix.Tensors)}
	for i := range ix.Tensors {
		elements := uint64(1)
		for _, n := range ix.Tensors[i].Shape {
			elements *= uint64(n)
		}
		a.Sum += elements
	}
	return a, err
}

// bytesRead is what this process has had from read(2) and its like so far, this very
// file included.
func bytesRead() (int64, error) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	var n int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		return 0, fmt.Errorf("/proc/self/io: %w", err)
	}
	return n, nil
}
