// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/client"
	"github.com/modelfs/modelfs/workers/handler"
)

// mortal is a handler that is given calls ahead, and dies at the second call, when it has
// two more.
type mortal struct {
	handler.Handler
	calls atomic.Int32
	had   sync.WaitGroup
	dead  chan struct{}
}

func (m *mortal) Spec() handler.Spec { return handler.Spec{Concurrency: 1, Ahead: 2} }

func (m *mortal) Dead() <-chan struct{} { return m.dead }

func (m *mortal) Infer(ctx context.Context, req *handler.Request, emit func(*handler.Response) error) error {
	n := m.calls.Add(1)
	if n == 1 {
		return m.Handler.Infer(ctx, req, emit)
	}
	defer req.Released()
	if n <= 4 {
		m.had.Done()
	}
	<-m.dead
	if n == 2 {
		return fmt.Errorf("%w: killed", handler.ErrGone)
	}
	return errors.Join(handler.ErrGone, handler.ErrNotBegun)
}

// TestGoneAhead: when a handler dies, the call that it was at fails, and the client makes
// it again; those that it had not come to are run by the next one, and nobody hears of it.
func TestGoneAhead(t *testing.T) {
	first := &mortal{Handler: handler.Func(handler.Spec{}, echo), dead: make(chan struct{})}
	first.had.Add(3)
	started := 0
	cfg := model("echo", handler.Spec{}, batch.Config{}, echo)
	next := cfg.Start
	cfg.Start = func(ctx context.Context, i int) (handler.Handler, error) {
		if started++; started == 1 {
			return first, nil
		}
		return next(ctx, i)
	}
	f := serve(t, cfg)
	infer := func(i int) {
		got, err := f.conn.Infer(t.Context(), &client.Request{Model: "echo", Inputs: []client.Tensor{vector("x", []int64{1}, float32(i))}})
		if err != nil {
			t.Errorf("call %d: %v", i, err)
			return
		}
		defer got.Free()
		if !bytes.Equal(got.Outputs[0].Bytes(), floats(float32(i))) {
			t.Errorf("call %d has another's answer", i)
		}
	}
	infer(0)
	const calls = 5 // two of them wait in the queue
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() { infer(1 + i) })
	}
	first.had.Wait()
	close(first.dead)
	all.Wait()
	st, err := f.of(t, "echo").Statistics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := st[0].InferenceStats; s.Fail.Count != 1 || s.Success.Count != 1+calls {
		t.Errorf("%d calls and one that is repeated are counted as %v", 1+calls, s)
	}
}

// poison is what a fragile handler dies of.
const poison = -1

// fragile is a handler that dies of a call with poison, and whoever is in it with that.
type fragile struct {
	handler.Handler
	dead chan struct{}
}

func (f *fragile) Dead() <-chan struct{} { return f.dead }

func (f *fragile) Infer(ctx context.Context, req *handler.Request, emit func(*handler.Response) error) error {
	if !bytes.Contains(req.Inputs[0].Data(), floats(poison)) {
		return f.Handler.Infer(ctx, req, emit)
	}
	defer req.Released()
	close(f.dead)
	return fmt.Errorf("%w: killed", handler.ErrGone)
}

// TestDeadlyCall: a call that kills its handlers ends after the second of them, and is not
// repeated any more. Those that were joined with it are answered, and so is whoever comes
// afterwards, also when that has happened so often that the model was not ready for a while.
func TestDeadlyCall(t *testing.T) {
	var starts atomic.Int32
	cfg := model("echo", handler.Spec{}, batch.Config{MaxBatch: 4, MaxDelay: patience}, nil)
	cfg.Start = func(context.Context, int) (handler.Handler, error) {
		starts.Add(1)
		return &fragile{handler.Func(rowSpec(4), echo), make(chan struct{})}, nil
	}
	f := serve(t, cfg)
	infer := func(value float32, rows int64) error {
		values := make([]float32, rows)
		values[0] = value
		got, err := f.of(t, "echo").Infer(t.Context(), &client.Request{Inputs: []client.Tensor{vector("x", []int64{rows, 1}, values...)}})
		if err == nil {
			got.Free()
		}
		return err
	}
	for round := range int32(3) {
		var all sync.WaitGroup
		for range 2 { // they wait for company until the batch is full
			all.Go(func() {
				if err := infer(1, 1); err != nil {
					t.Errorf("a call that was joined with it: %v", err)
				}
			})
		}
		want(t, infer(poison, 2), codes.Unavailable)
		all.Wait()
		if n := starts.Load(); n > 1+2*(round+1) {
			t.Errorf("after %d such calls %d handlers were started", round+1, n)
		}
	}
	for f.Ready() {
		if err := infer(poison, 4); err == nil {
			t.Fatal("a deadly call is answered")
		}
	}
	ready := time.Now()
	eventually(t, "it takes calls again", f.Ready)
	if d := time.Since(ready); d > patience/2 { // who lives for a minute is well
		t.Errorf("it takes calls again after %v", d)
	}
	if err := infer(1, 4); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
