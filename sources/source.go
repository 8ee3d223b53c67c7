// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Source is a place where models lie.
type Source interface {
	// Spec is what the user named it by.
	Spec() string
	// Kind is folder, model, file or huggingface.
	Kind() string
	// Scan finds the models that are there now, by name. It reads folders, never
	// weight files. What cannot be read is left out.
	Scan(ctx context.Context) ([]*Model, error)
}

// Resolve makes the source that a spec names: a folder tree, a folder that is one
// model, a weight file, or a Hugging Face cache. Nothing of it is looked for inside the
// fence: a source that lies there itself is ErrOwnMount.
func Resolve(spec string, fence *Fence) (Source, error) {
	abs, err := filepath.Abs(expand(spec))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSpec, spec, err)
	}
	n, err := fence.resolve(abs, nil)
	switch {
	case os.IsNotExist(err):
		return nil, fmt.Errorf("%w: %s does not exist", ErrSpec, spec)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSpec, err)
	}
	n.close()
	switch {
	case n.kind() == unix.S_IFREG:
		return newFile(spec, abs, fence)
	case !n.isFolder():
		return nil, fmt.Errorf("%w: %s is neither a file nor a folder", ErrSpec, spec)
	}
	entries, err := fence.list(abs, abs)
	if err != nil {
		return nil, fmt.Errorf("%w: %s cannot be read: %w", ErrSpec, spec, err)
	}
	for _, e := range entries {
		switch {
		case e.Folder && strings.HasPrefix(e.Name, repoPrefix):
			return &hub{spec: spec, dir: abs, fence: fence}, nil
		case !e.Folder && isModelFile(e.Name):
			return &single{spec: spec, dir: abs, fence: fence}, nil
		}
	}
	return &folder{spec: spec, dir: abs, fence: fence}, nil
}

// expand makes a leading "~/" the home folder, for specs that no shell has seen.
func expand(spec string) string {
	if rest, ok := strings.CutPrefix(spec, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return spec
}

// Defaults returns the specs that are used when the user names none: those of
// MODELFS_MODELS, separated by ":", and the Hugging Face cache, as far as they
// exist; and what of MODELFS_MODELS does not.
func Defaults(getenv func(string) string) (specs, missing []string) {
	for _, s := range filepath.SplitList(getenv("MODELFS_MODELS")) {
		if s == "" {
			continue
		}
		abs, err := filepath.Abs(expand(s))
		if err == nil {
			_, err = os.Stat(abs)
		}
		if errors.Is(err, iofs.ErrNotExist) {
			missing = append(missing, s)
			continue
		}
		specs = append(specs, cmp.Or(abs, s)) // what else is wrong with it, Resolve says
	}
	if dir := hubFolder(getenv); dir != "" {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			specs = append(specs, dir)
		}
	}
	return specs, missing
}

// hubFolder is where the Hugging Face libraries keep their cache.
func hubFolder(getenv func(string) string) string {
	if dir := getenv("HF_HUB_CACHE"); dir != "" {
		return dir
	}
	if dir := getenv("HF_HOME"); dir != "" {
		return filepath.Join(dir, "hub")
	}
	if dir := getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "huggingface", "hub")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "huggingface", "hub")
	}
	return ""
}

// isModelFile says whether a file makes the folder that holds it a model, apart
// from weight files.
func isModelFile(name string) bool { return name == "config.json" || name == "model_index.json" }
