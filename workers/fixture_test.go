// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers_test

import (
	"context"
	"encoding/binary"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/modelfs/modelfs/workers"
	"github.com/modelfs/modelfs/workers/arena"
	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/client"
	"github.com/modelfs/modelfs/workers/handler"
)

// patience is for what must come, and how fast is not the point.
const patience = time.Minute

// fixture is a server in this process, of models that are Go functions.
type fixture struct {
	*workers.Server
	arena   *arena.Arena
	conn    *client.Client
	address string
}

// of is a client of one model.
func (f *fixture) of(t *testing.T, model string) *client.Client {
	t.Helper()
	return dial(t, client.Options{Address: f.address, Model: model})
}

// model is one handler of a function, by any number of slots.
func model(name string, spec handler.Spec, queue batch.Config, f func(context.Context, []handler.Array, map[string]any) ([]handler.Array, error)) workers.ModelConfig {
	return workers.ModelConfig{
		Name: name, Queue: queue,
		Start: func(context.Context, int) (handler.Handler, error) { return handler.Func(spec, f), nil },
	}
}

// serve starts a server at a Unix socket and a client of it. At the end no memory of
// the arena is taken.
func serve(t *testing.T, models ...workers.ModelConfig) *fixture {
	t.Helper()
	return serveWith(t, func(*workers.Config) {}, models...)
}

// serveWith is serve with a configuration that is changed.
func serveWith(t *testing.T, change func(*workers.Config), models ...workers.ModelConfig) *fixture {
	t.Helper()
	f := &fixture{arena: arena.New(arena.Memfds(), 1<<20)}
	cfg := workers.Config{
		Version: "test", Models: models, Arena: f.arena, MaxTensorBytes: 64 << 20,
		Credentials: caller.Credentials(caller.Options{}),
		Callers:     func(ctx context.Context) (caller.Caller, error) { return caller.FromContext(ctx, nil) },
	}
	change(&cfg)
	f.Server = workers.New(cfg)
	address := "unix:" + filepath.Join(t.TempDir(), "s.sock")
	l, err := caller.Listen(address, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = f.Serve(l) })
	f.address = address
	f.conn = dial(t, client.Options{Address: address})
	t.Cleanup(func() {
		f.taken(t, 0)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		f.Drain(ctx)
		serving.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return f
}

func dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// taken waits until so many regions of the arena are.
func (f *fixture) taken(t *testing.T, want int) {
	t.Helper()
	eventually(t, "memory is free", func() bool { return f.arena.Stats().Regions == want })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatal("not in time: " + what)
		}
	}
}

func floats(v ...float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// vector is an input of FP32.
func vector(name string, shape []int64, v ...float32) client.Tensor {
	return client.Tensor{Name: name, Datatype: "FP32", Shape: shape, Data: floats(v...)}
}

// echo gives back what it gets.
func echo(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
	return in, nil
}

// rowSpec is a model with batches of vectors.
func rowSpec(most int) handler.Spec {
	return handler.Spec{
		Inputs:   []call.Tensor{{Name: "x", Datatype: call.FP32, Shape: []int64{-1}}},
		Outputs:  []call.Tensor{{Name: "x", Datatype: call.FP32, Shape: []int64{-1}}},
		MaxBatch: most,
	}
}
