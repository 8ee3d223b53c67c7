// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/modelfs/modelfs/workers/handler"
	"github.com/modelfs/modelfs/workers/inference"
)

// RepositoryIndex lists the models that are served, or can be.
func (s *Server) RepositoryIndex(_ context.Context, in *inference.RepositoryIndexRequest) (*inference.RepositoryIndexResponse, error) {
	out := &inference.RepositoryIndexResponse{}
	for _, m := range s.list() {
		st := m.state()
		if in.GetReady() && st.State != handler.Ready {
			continue
		}
		out.Models = append(out.Models, &inference.RepositoryIndexResponse_ModelIndex{
			Name: m.cfg.Name, Version: version, State: st.State.String(), Reason: st.Reason,
		})
	}
	return out, nil
}

// RepositoryModelLoad starts a model and returns when it can be called. What a model is
// made of comes from the mount and from the command line, never from a request.
func (s *Server) RepositoryModelLoad(ctx context.Context, in *inference.RepositoryModelLoadRequest) (*inference.RepositoryModelLoadResponse, error) {
	if err := s.mayChange(ctx); err != nil {
		return nil, failure(err)
	}
	names := slices.Sorted(maps.Keys(in.GetParameters()))
	if i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "file:") }); i >= 0 {
		return nil, failure(fmt.Errorf("parameter %q: %w: files of models are not taken from requests: put them into the mount", names[i], ErrUnsupported))
	}
	if len(names) > 0 {
		return nil, failure(fmt.Errorf("parameter %q: %w: a model's configuration is given to modelfs serve", names[0], ErrUnsupported))
	}
	m, err := s.find(in.GetModelName())
	if err != nil {
		return nil, failure(err)
	}
	m.load()
	if err := m.await(ctx); err != nil {
		return nil, failure(err)
	}
	return &inference.RepositoryModelLoadResponse{}, nil
}

// RepositoryModelUnload lets what waits be answered, and ends a model's handlers.
func (s *Server) RepositoryModelUnload(ctx context.Context, in *inference.RepositoryModelUnloadRequest) (*inference.RepositoryModelUnloadResponse, error) {
	if err := s.mayChange(ctx); err != nil {
		return nil, failure(err)
	}
	m, err := s.model(in.GetModelName(), "")
	if err != nil {
		return nil, failure(err)
	}
	m.unload(ctx, "unloaded")
	return &inference.RepositoryModelUnloadResponse{}, nil
}

// mayChange says whether a caller may load and unload: one that is known.
func (s *Server) mayChange(ctx context.Context) error {
	c, err := s.cfg.Callers(ctx)
	if err != nil {
		return err
	}
	if c.User == nil {
		return fmt.Errorf("%w, and models are loaded and unloaded for callers that are known", ErrUnknownCaller)
	}
	return nil
}

// await waits until a model can be called, or is known not to be.
func (m *model) await(ctx context.Context) error {
	for {
		changed := m.server.changes()
		switch st := m.state(); st.State {
		case handler.Ready:
			return nil
		case handler.Unavailable:
			return fmt.Errorf("%s: %w: %s", m.cfg.Name, ErrNotReady, reasonOf(st))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
