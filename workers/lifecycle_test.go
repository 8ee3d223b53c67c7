// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers"
	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/handler"
	"github.com/modelfs/modelfs/workers/inference"
)

// slowEnd is a handler whose end takes until it is let go.
type slowEnd struct {
	handler.Handler
	ending, let chan struct{}
	ended       atomic.Bool
}

func (s *slowEnd) Close() error {
	close(s.ending)
	<-s.let
	s.ended.Store(true)
	return s.Handler.Close()
}

// anybody is known: calls are made without a connection.
func anybody(c *workers.Config) {
	c.Callers = func(context.Context) (caller.Caller, error) { return caller.Caller{User: &caller.User{Uid: 1}}, nil }
}

// TestCloseWhileUnloading: a server that has ended has no handler left, also of a model
// that somebody is unloading, and tells of nothing any more.
func TestCloseWhileUnloading(t *testing.T) {
	h := &slowEnd{Handler: handler.Func(handler.Spec{}, echo), ending: make(chan struct{}), let: make(chan struct{})}
	var over atomic.Bool
	f := serveWith(t, func(c *workers.Config) {
		anybody(c)
		c.Changed = func() {
			if over.Load() {
				t.Error("a change after the end")
			}
		}
	}, workers.ModelConfig{Name: "m", Start: func(context.Context, int) (handler.Handler, error) { return h, nil }})
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := f.RepositoryModelUnload(t.Context(), &inference.RepositoryModelUnloadRequest{ModelName: "m"}); err != nil {
			t.Error(err)
		}
	})
	<-h.ending
	time.AfterFunc(50*time.Millisecond, func() { close(h.let) })
	f.Close()
	over.Store(true)
	if !h.ended.Load() {
		t.Error("the server has ended, and a handler has not")
	}
	all.Wait()
}

// TestLoadAfterEnd: a server that ends starts nothing.
func TestLoadAfterEnd(t *testing.T) {
	var starts atomic.Int32
	start := func(context.Context, int) (handler.Handler, error) {
		starts.Add(1)
		return handler.Func(handler.Spec{}, echo), nil
	}
	f := serveWith(t, func(c *workers.Config) {
		anybody(c)
		c.Find = func(name string) (workers.ModelConfig, error) {
			return workers.ModelConfig{Name: name, Start: start}, nil
		}
	}, workers.ModelConfig{Name: "m", Start: start})
	f.Close()
	before := starts.Load()
	for _, name := range []string{"m", "another"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := f.RepositoryModelLoad(ctx, &inference.RepositoryModelLoadRequest{ModelName: name})
		cancel()
		want(t, err, codes.Unavailable)
	}
	if starts.Load() != before {
		t.Error("a handler was started")
	}
}

// TestStreamWhileDraining: a stream that is open gets no new calls in.
func TestStreamWhileDraining(t *testing.T) {
	let := make(chan struct{})
	slow := func(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
		<-let
		return in, nil
	}
	f := serve(t, model("m", handler.Spec{Concurrency: 2}, batch.Config{}, slow))
	stream, err := f.raw(t).ModelStreamInfer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(id string) {
		t.Helper()
		if err := stream.Send(&inference.ModelInferRequest{
			ModelName: "m", Id: id, Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "n", Datatype: "UINT8", Shape: []int64{1}}}, RawInputContents: [][]byte{{1}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	ask("first")
	eventually(t, "the first runs", func() bool { return f.arena.Stats().Regions > 0 })
	var drained sync.WaitGroup
	drained.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		f.Drain(ctx)
	})
	eventually(t, "it drains", func() bool { return !f.Ready() })
	ask("second")
	got, err := stream.Recv()
	if err != nil {
		t.Fatalf("%v %v", status.Code(err), err)
	}
	if got.GetErrorMessage() == "" || got.GetInferResponse().GetId() != "second" {
		t.Errorf("the second call: %v", got)
	}
	close(let)
	if got, err = stream.Recv(); err != nil || got.GetErrorMessage() != "" || got.GetInferResponse().GetId() != "first" {
		t.Errorf("the first call: %v %v", got, err)
	}
	drained.Wait()
}

// TestChangesByStrangers: models are loaded and unloaded for callers that are known, and who
// is not is told that, and nothing of tensors.
func TestChangesByStrangers(t *testing.T) {
	f := serveWith(t, func(c *workers.Config) { c.Callers = nil }, model("m", handler.Spec{}, batch.Config{}, echo))
	_, load := f.RepositoryModelLoad(t.Context(), &inference.RepositoryModelLoadRequest{ModelName: "m"})
	_, unload := f.RepositoryModelUnload(t.Context(), &inference.RepositoryModelUnloadRequest{ModelName: "m"})
	for _, err := range []error{load, unload} {
		want(t, err, codes.PermissionDenied)
		if text := status.Convert(err).Message(); text != "nobody says who calls, and models are loaded and unloaded for callers that are known" {
			t.Error(text)
		}
	}
}
