// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		why = errors.Join(why, fmt.Errorf("%s: %w", filepath.Base(program), lastLine(err)))
	}
	return nil, why
}

func runs(program string) bool {
	st, err := os.Stat(program)
	return err == nil && st.Mode()&0o111 != 0
}

// ask runs a script in a process of its own.
func (l *library) ask(ctx context.Context, script string, args ...string) (answer, error) {
	return ask(ctx, "env", append(l.words(script), args...)...)
}

func (l *library) words(script string) []string {
	return []string{"PYTHONPATH=" + l.source, "HF_HUB_OFFLINE=1", l.program, "-B", filepath.Join(l.scripts, script)}
}

// forker is a script that has its imports, and forks a process for each run: for
// torch and transformers they take longer than all that is measured.
type forker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// forker starts one; the scope ends it.
func (l *library) forker(ctx context.Context, s *scope, script string) (*forker, error) {
	f := &forker{cmd: command(ctx, "env", append(l.words(script), "serve")...)}
	f.cmd.Stderr = os.Stderr
	var err error
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.out = bufio.NewReader(out)
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	s.add("end "+script, func() error { return errors.Join(f.in.Close(), f.cmd.Wait()) })
	return f, nil
}

// ask has it run its arguments, none of which has a tab, in a new process.
func (f *forker) ask(args ...string) (answer, error) {
	if _, err := io.WriteString(f.in, strings.Join(args, "\t")+"\n"); err != nil {
		return answer{}, err
	}
	line, err := f.out.ReadString('\n')
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w (what it wrote is on stderr)", strings.Join(args, " "), err)
	}
	var a answer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		return answer{}, fmt.Errorf("%s said %q: %w", strings.Join(args, " "), line, err)
	}
	return a, nil
}
