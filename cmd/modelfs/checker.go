// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/sources"
)

// checker looks at one file or folder.
//
// A folder's real folders are walked, and of symlinks nothing is followed that the
// walk comes to anyhow: no path can repeat. The topmost folders with weight files in
// them are models, whose checkpoints are read as the mount reads them; a weight file
// that belongs to none is read by itself.
type checker struct {
	ctx      context.Context
	top      string          // the folder that was named, without symlinks
	read     map[string]bool // files that were read with their checkpoint, by path
	files    int
	findings []finding
}

func newChecker(ctx context.Context) *checker {
	return &checker{ctx: ctx, read: make(map[string]bool)}
}

func (c *checker) find(file, format string, args ...any) {
	c.findings = append(c.findings, finding{File: file, Text: fmt.Sprintf(format, args...)})
}

// wrong is a finding of an error, at its byte if it is about one.
func (c *checker) wrong(file string, err error) {
	var format *loaders.FormatError
	if errors.As(err, &format) {
		c.findings = append(c.findings, finding{File: file, Offset: &format.Offset, Text: format.Format + ": " + format.Msg})
		return
	}
	c.find(file, "%v", err)
}

// path checks what was named, which may be a symlink, as in the Hugging Face cache.
func (c *checker) path(name string) {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		c.files++
		c.find(name, "cannot be read: %v", err)
	case st.IsDir():
		c.top = unlinked(name)
		c.folder(filepath.Clean(name), false)
	default:
		c.file(name, st.Mode())
	}
}

// folder checks every checkpoint below a folder, and that nothing else in it is of
// a kind that can do harm. within says that the folder is part of a model.
func (c *checker) folder(dir string, within bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.find(dir, "cannot be read: %v", err)
	}
	if !within && slices.ContainsFunc(entries, makesModel) {
		c.model(dir)
		within = true
	}
	for _, e := range entries {
		at := filepath.Join(dir, e.Name())
		switch {
		case c.ctx.Err() != nil:
			return
		case e.IsDir():
			if !sources.Unnamed(unlinked(at)) {
				c.folder(at, within)
			}
		case e.Type()&iofs.ModeSymlink != 0:
			c.link(at)
		default:
			c.file(at, e.Type())
		}
	}
}

// makesModel says whether a folder with that entry is a model.
func makesModel(e iofs.DirEntry) bool {
	return !e.IsDir() && sources.MakesModel(strings.TrimSuffix(e.Name(), ".index.json"))
}

// link checks a file behind a symlink. A folder behind one is checked where it lies.
func (c *checker) link(at string) {
	st, err := os.Stat(at)
	target := unlinked(at)
	var failed *iofs.PathError
	switch {
	case errors.As(err, &failed):
		c.find(at, "is a symlink that leads nowhere: %v", failed.Err)
	case !below(target, c.top) && !ownBlob(at, target):
		c.find(at, "is a symlink out of the folder, to %s", target)
	case !st.IsDir():
		c.file(at, st.Mode())
		return
	case below(unlinked(filepath.Dir(at)), target):
		c.find(at, "is a symlink to a folder that it is in: who follows it comes to no end")
	default:
		return
	}
	c.files++
}

// below says whether a path is another one, or lies below it.
func below(name, dir string) bool {
	rel, err := filepath.Rel(dir, name)
	return err == nil && filepath.IsLocal(rel)
}

// unlinked is a path without symlinks; the path itself where it leads nowhere.
func unlinked(name string) string {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		target = name
	}
	abs, err := filepath.Abs(target)
	if err != nil {
		return target
	}
	return abs
}

// ownBlob says whether a symlink in a snapshot of a Hugging Face cache leads to a
// blob of the same repository.
func ownBlob(at, target string) bool {
	repo, ok := sources.Snapshot(unlinked(filepath.Dir(at)))
	return ok && filepath.Dir(target) == filepath.Join(repo, "blobs")
}

// harmless are the extensions of text that no loader executes.
var harmless = []string{".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".toml", ".vocab", ".merges", ".gitattributes", ".gitignore"}

// plain are names of such texts.
var plain = []string{"LICENSE", "NOTICE", "README", "CACHEDIR.TAG"}

func (c *checker) file(name string, mode iofs.FileMode) {
	c.files++
	ext := strings.ToLower(filepath.Ext(name))
	switch _, weights := loaders.Of(name); {
	case !mode.IsRegular():
		c.find(name, "is no regular file: it is %s", kind(mode))
	case c.read[name]:
	case slices.Contains(harmless, ext) || slices.Contains(plain, filepath.Base(name)):
	case !weights:
		c.find(name, "of no known kind (%q): nothing is known of what it does", ext)
	default:
		c.weights(name)
	}
}

func kind(mode iofs.FileMode) string {
	switch {
	case mode&iofs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&iofs.ModeSocket != 0:
		return "a socket"
	case mode&iofs.ModeDevice != 0:
		return "a device"
	case mode.IsDir():
		return "a folder"
	}
	return "of type " + mode.Type().String()
}

// alone is the model that a folder is.
func (c *checker) alone(dir string) (*catalog.Model, error) {
	cat := catalog.New([]sources.Source{sources.Alone(unlinked(dir))}, slog.New(slog.DiscardHandler))
	for _, m := range cat.Models(c.ctx) {
		return m, nil
	}
	return nil, fmt.Errorf("%s: %w", dir, iofs.ErrNotExist)
}

// model checks what of a folder is loaded together: the list of its shards, and what
// is wrong between them.
func (c *checker) model(dir string) {
	m, err := c.alone(dir)
	if err != nil {
		c.find(dir, "cannot be read: %v", err)
		return
	}
	cps, err := m.Checkpoints(c.ctx)
	if err != nil {
		c.find(dir, "cannot be read: %v", err)
		return
	}
	for _, cp := range cps.All {
		if !linked(dir, cp.Files[0]) {
			c.checkpoint(dir, m, cp)
		}
	}
	for _, list := range cps.Unused {
		if !linked(dir, list.List) {
			c.wrong(filepath.Join(dir, list.List), list.Err)
		}
	}
}

// linked says whether a file is in a folder that is a symlink, and so checked where
// it lies.
func linked(dir, rel string) bool {
	return unlinked(filepath.Join(dir, filepath.Dir(rel))) != filepath.Join(unlinked(dir), filepath.Dir(rel))
}

func (c *checker) checkpoint(dir string, m *catalog.Model, cp *catalog.Checkpoint) {
	name := filepath.Join(dir, cp.Name)
	ix, err := cp.Index(c.ctx)
	if err != nil {
		c.find(name, "cannot be read: %v", err)
		return
	}
	for rel := range ix.Files {
		c.read[filepath.Join(dir, rel)] = true
	}
	if ix.Err == nil {
		c.found(dir, ix)
		return
	}
	// Of several files the index has one error, and nothing of the others.
	said := false
	for _, rel := range cp.Headers() {
		one, err := m.IndexFile(rel)
		if err != nil {
			c.find(filepath.Join(dir, rel), "cannot be read: %v", err)
			continue
		}
		if one.Err != nil {
			c.wrong(filepath.Join(dir, rel), one.Err)
			said = said || one.Err.Error() == ix.Err.Error()
		}
		c.found(dir, one)
	}
	var list *catalog.ListError
	switch {
	case said:
	case errors.As(ix.Err, &list):
		c.wrong(filepath.Join(dir, list.List), list.Err)
	default:
		c.find(name, "%s", strings.TrimPrefix(ix.Err.Error(), cp.Name+": "))
	}
}

// found adds the findings of files that were read.
func (c *checker) found(dir string, ix *catalog.Indexed) {
	for _, f := range ix.Index.Findings {
		at := f.Offset
		c.findings = append(c.findings, finding{File: filepath.Join(dir, f.File), Offset: &at, Text: f.Text})
	}
}

// weights reads one weight file as a model of its own, with the data files that it
// names.
func (c *checker) weights(name string) {
	if owner, ok := loaders.Companion(name); ok {
		if _, err := os.Lstat(owner); err == nil {
			return // read with its owner
		}
	}
	m, err := c.alone(filepath.Dir(name))
	if err != nil {
		c.find(name, "%v", err)
		return
	}
	ix, err := m.IndexFile(filepath.Base(name))
	if err != nil {
		c.find(name, "cannot be read: %v", err)
		return
	}
	if ix.Err != nil {
		c.wrong(name, ix.Err)
	}
	c.found(filepath.Dir(name), ix)
}
