// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// library is a Python in which scripts of peers/ import the package modelfs of
// this repository.
type library struct {
	program, source string
	scripts         string
	versions        string // of what a script said that it measures
}

// library finds the first Python in which a script's --version works: the one of
// --python, else the tests' .venv, which has torch where somebody asked for it,
// else that of the peers, which never installs it: it is 4 GB.
func (p *python) library(ctx context.Context, script string, args ...string) (*library, error) {
	var candidates []string
	if p.asked == "" {
		if tests := filepath.Join(p.repository, ".venv/bin/python"); runs(tests) {
			candidates = append(candidates, tests)
		}
	}
	own, err := p.interpreter(ctx)
	if err != nil {
		return nil, err
	}
	var why error
	for _, program := range append(candidates, own) {
		l := &library{program: program, source: filepath.Join(p.repository, "python"), scripts: filepath.Join(p.repository, "bench/peers")}
		a, err := l.ask(ctx, script, append([]string{"--version"}, args...)...)
		if err == nil {
			l.versions = a.Version
			return l, nil
		}
		why = errors.Join(why, fmt.Errorf("%s: %w", program, lastLine(err)))
	}
	return nil, why
}

func runs(program string) bool {
	st, err := os.Stat(program)
	return err == nil && st.Mode()&0o111 != 0
}

// ask runs a script in a process of its own.
func (l *library) ask(ctx context.Context, script string, args ...string) (answer, error) {
	return ask(ctx, "env", append([]string{"PYTHONPATH=" + l.source, "HF_HUB_OFFLINE=1", l.program, "-B", filepath.Join(l.scripts, script)}, args...)...)
}
