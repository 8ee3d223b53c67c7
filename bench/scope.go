// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// scope is a folder and what was made that must be taken back: processes, mounts,
// trace instances. Closing takes back in the opposite order, all of it even when
// some of it fails, and the folder last. A context that ended does not stop it.
type scope struct {
	dir   string
	steps []step
}

type step struct {
	what string
	undo func() error
}

// newScope makes one with a folder in dir.
func newScope(dir, pattern string) (*scope, error) {
	dir, err := os.MkdirTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	return scopeOf(dir), nil
}

func scopeOf(dir string) *scope {
	s := &scope{dir: dir}
	s.add("remove "+dir, func() error { return os.RemoveAll(dir) })
	return s
}

// inner makes a scope within this one, which closes it too if nobody else does.
func (s *scope) inner(name string) (*scope, error) {
	dir, err := s.folder(name)
	if err != nil {
		return nil, err
	}
	in := scopeOf(dir)
	s.add("close "+name, in.close)
	return in, nil
}

func (s *scope) add(what string, undo func() error) {
	s.steps = append(s.steps, step{what, undo})
}

// close may be called again.
func (s *scope) close() error {
	steps := s.steps
	s.steps = nil
	var all error
	for _, step := range slices.Backward(steps) {
		if err := step.undo(); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", step.what, err))
		}
	}
	return all
}

func (s *scope) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scope) folder(name string) (string, error) {
	dir := s.path(name)
	return dir, os.MkdirAll(dir, 0o755)
}
