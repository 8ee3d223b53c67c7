// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// python runs the peers that are written in it.
type python struct {
	repository string
	asked      string // the interpreter of --python; "" makes a venv
	say        func(string, ...any)
}

func newPython(b *bench, asked string) *python {
	return &python{b.repository, asked, b.say}
}

// peer is a contender in Python.
type peer struct {
	name    string
	script  string
	goal    goal
	missing error // why it cannot run
	at      int   // among the contenders
}

// peers lists those of a cold load, each tried whether it runs.
func (p *python) peers(ctx context.Context) []peer {
	list := []peer{
		{name: "safetensors load_file (numpy)", script: "safetensors_numpy.py", goal: faster(2.5)},
		{name: "Run:ai Model Streamer", script: "runai_streamer.py", goal: faster(1.5)},
	}
	program, err := p.interpreter(ctx)
	for i := range list {
		l := &list[i]
		if l.missing = err; err != nil {
			continue
		}
		a, err := ask(ctx, program, "-B", p.script(l.script), "--version")
		if err != nil {
			l.missing = lastLine(err)
			continue
		}
		l.name = a.Version
	}
	return list
}

// headerReader is a library that reads a format's headers, in a Python that has it.
type headerReader struct {
	python, script, format, version string
}

// headers finds the library of a format. torch, of 4.2 GB, is not in the list of
// peers: the tests' Python has it where MODELFS_REQUIRE=torch make setup put it there.
func (p *python) headers(ctx context.Context, format string) (headerReader, error) {
	programs := []string{filepath.Join(p.repository, ".venv/bin/python")}
	if p.asked != "" {
		programs = nil
	}
	program, err := p.interpreter(ctx)
	if err == nil {
		programs = slices.Insert(programs, 0, program)
	}
	for _, program := range programs {
		h := headerReader{program, p.script("headers.py"), format, ""}
		a, tried := h.ask(ctx, "--version")
		if tried == nil {
			h.version = a.Version
			return h, nil
		}
		if err == nil {
			err = lastLine(tried)
		}
	}
	return headerReader{}, err
}

func (h headerReader) ask(ctx context.Context, args ...string) (answer, error) {
	return ask(ctx, h.python, append([]string{"-B", h.script, h.format}, args...)...)
}

// lastLine is where Python says what was wrong.
func lastLine(err error) error {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return fmt.Errorf("it does not run: %s", lines[len(lines)-1])
}

func (p *python) script(name string) string { return filepath.Join(p.repository, "bench/peers", name) }

// run runs one load in a new process.
func (p *python) run(ctx context.Context, script, file string) (answer, error) {
	program, err := p.interpreter(ctx)
	if err != nil {
		return answer{}, err
	}
	return ask(ctx, program, "-B", p.script(script), file)
}

// interpreter returns the Python that has the peers.
func (p *python) interpreter(ctx context.Context) (string, error) {
	return p.venv(ctx, "bench-venv", "requirements.txt")
}

// servers returns the Python that has the servers beside which modelfs serve is measured.
func (p *python) servers(ctx context.Context) (string, error) {
	return p.venv(ctx, "bench-serving-venv", "requirements-serving.txt")
}

// venv returns the Python of a venv in build, or the one that was asked for. It makes
// the venv when there is none of this list yet.
func (p *python) venv(ctx context.Context, name, requirements string) (string, error) {
	if p.asked != "" {
		return exec.LookPath(p.asked)
	}
	venv := filepath.Join(p.repository, "build", name)
	program := filepath.Join(venv, "bin/python")
	list := filepath.Join(p.repository, "bench", requirements)
	text, err := os.ReadFile(list)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(text)
	want, stamp := hex.EncodeToString(hash[:]), filepath.Join(venv, "requirements.sha256")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return program, nil
	}
	p.say("make %s from %s", venv, list)
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", venv},
		{program, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check", "--no-deps", "-r", list},
	} {
		if out, err := command(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", strings.Join(args[:min(len(args), 4)], " "), err, lastOf(string(out)))
		}
	}
	return program, os.WriteFile(stamp, []byte(want), 0o644)
}

func lastOf(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
