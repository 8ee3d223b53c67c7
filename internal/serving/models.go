// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/modelfs/modelfs/workers"
	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/handler"
)

const onnxSuffix = ".onnx"

// modelConfig says how a model is served: by the handler that is named, or, for an .onnx
// file, by ONNX Runtime.
func (s *serving) modelConfig(m Model) (workers.ModelConfig, error) {
	args := []string{s.python, "-m", "modelfs.worker", "--fd", "3", "--model", m.Name}
	if s.cfg.Mount != "" {
		args = append(args, "--mount", s.cfg.Mount)
	}
	if m.Handler != "" && !strings.HasSuffix(m.Handler, onnxSuffix) {
		if module, class, ok := strings.Cut(m.Handler, ":"); !ok || module == "" || class == "" {
			return workers.ModelConfig{}, fmt.Errorf("model %s: %q is no handler: write NAME=MODULE:CLASS, or NAME=FILE.onnx", m.Name, m.Handler)
		}
		args = append(args, "--handler", m.Handler)
	} else {
		file, err := s.onnxFile(m)
		if err != nil {
			return workers.ModelConfig{}, err
		}
		args = append(args, "--file", file)
	}
	args = append(args, "--workers", strconv.Itoa(s.cfg.Handlers))
	return workers.ModelConfig{
		Name: m.Name, Handlers: s.cfg.Handlers,
		Queue: batch.Config{
			MaxBatch: s.cfg.MaxBatch, MaxDelay: s.cfg.MaxDelay, Preferred: s.cfg.Preferred,
			MaxQueue: s.cfg.MaxQueue, Timeout: s.cfg.QueueTimeout, Levels: s.cfg.Levels,
		},
		Start: func(ctx context.Context, index int) (handler.Handler, error) {
			return handler.Start(ctx, handler.Command{
				Args: args, Env: s.env, Log: s.cfg.Log.With("model", m.Name, "handler", index),
				StartLimit: s.cfg.StartLimit, Limit: s.cfg.Limit, Memory: s.cfg.Memory, Grace: s.cfg.Grace,
			})
		},
	}, nil
}

// onnxFile is the model's .onnx file in the mount.
func (s *serving) onnxFile(m Model) (string, error) {
	if s.cfg.Mount == "" {
		return "", fmt.Errorf("model %s: without a mount a model needs a handler: --model %s=MODULE:CLASS", m.Name, m.Name)
	}
	dir := filepath.Join(s.cfg.Mount, "models", filepath.FromSlash(m.Name))
	// One name for one model: with others for it anybody could have it loaded again and again.
	if !filepath.IsLocal(m.Name) || m.Name != filepath.Clean(m.Name) || m.Name == "." {
		return "", fmt.Errorf("model %s: that is no name of a model", m.Name)
	}
	if m.Handler != "" {
		path := filepath.Join(dir, filepath.FromSlash(m.Handler))
		if _, err := os.Stat(path); err != nil || !filepath.IsLocal(m.Handler) {
			return "", fmt.Errorf("model %s: it has no file %s: %w", m.Name, m.Handler, errors.Join(err))
		}
		return path, nil
	}
	found, err := onnxFiles(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("model %s: %s has no such model (modelfs ls)", m.Name, s.cfg.Mount)
	case err != nil:
		return "", fmt.Errorf("model %s: %w", m.Name, err)
	case len(found) == 0:
		return "", fmt.Errorf("model %s: it has no .onnx file, so it needs a handler: --model %s=MODULE:CLASS", m.Name, m.Name)
	case len(found) > 1:
		return "", fmt.Errorf("model %s has several .onnx files: say which, as --model %s=%s (there are also %s)",
			m.Name, m.Name, found[0], strings.Join(found[1:], ", "))
	}
	return filepath.Join(dir, found[0]), nil
}

// onnxFiles are the .onnx files below a folder, by their path from it.
func onnxFiles(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, onnxSuffix) {
			rel, _ := filepath.Rel(dir, path)
			found = append(found, rel)
		}
		return err
	})
	slices.Sort(found)
	return found, err
}
