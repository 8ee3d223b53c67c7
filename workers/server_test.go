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

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/client"
	"github.com/modelfs/modelfs/workers/handler"
)

// TestInfer: what goes in comes out, small and large, and nothing of it is kept.
func TestInfer(t *testing.T) {
	f := serve(t, model("echo", handler.Spec{Concurrency: 4}, batch.Config{}, echo))
	for _, n := range []int{0, 1, 1000, 1 << 20, 20 << 20} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * 7)
		}
		got, err := f.conn.Infer(t.Context(), &client.Request{Model: "echo", Inputs: []client.Tensor{
			{Name: "a", Datatype: "UINT8", Shape: []int64{int64(n)}, Data: data},
			vector("b", []int64{2}, 1, 2),
		}})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Outputs) != 2 || !bytes.Equal(got.Outputs[0].Bytes(), data) || !bytes.Equal(got.Outputs[1].Bytes(), floats(1, 2)) {
			t.Errorf("%d bytes: other outputs than inputs", n)
		}
		got.Free()
	}
}

// TestBatchIsApart: calls that were joined get their own rows, and only those that fit
// are joined.
func TestBatchIsApart(t *testing.T) {
	var largest, runs atomic.Int64
	twice := func(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
		runs.Add(1)
		for rows := in[0].Shape[0]; ; {
			if m := largest.Load(); rows <= m || largest.CompareAndSwap(m, rows) {
				break
			}
		}
		time.Sleep(2 * time.Millisecond)
		return in, nil
	}
	f := serve(t, model("m", rowSpec(16), batch.Config{MaxBatch: 16, MaxDelay: time.Millisecond}, twice))
	const calls = 200
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			x := float32(i)
			shape, want := []int64{1, 2}, floats(x, x)
			if i%3 == 0 {
				shape, want = []int64{2, 2}, floats(x, x, x, x)
			}
			if i%5 == 0 { // another trailing shape
				shape, want = []int64{1, 1}, floats(x)
			}
			got, err := f.conn.Infer(t.Context(), &client.Request{Model: "m", Inputs: []client.Tensor{{Name: "x", Datatype: "FP32", Shape: shape, Data: want}}})
			if err != nil {
				t.Error(err)
				return
			}
			defer got.Free()
			if !bytes.Equal(got.Outputs[0].Bytes(), want) || fmt.Sprint(got.Outputs[0].Shape) != fmt.Sprint(shape) {
				t.Errorf("call %d got %v of another one", i, got.Outputs[0].Shape)
			}
		})
	}
	all.Wait()
	if largest.Load() < 2 || runs.Load() >= calls {
		t.Errorf("%d calls were %d runs of at most %d rows: nothing was joined", calls, runs.Load(), largest.Load())
	}
	f.statistics(t, "m", calls)
}

// statistics sees that so many calls were counted, each once.
func (f *fixture) statistics(t *testing.T, name string, calls uint64) {
	t.Helper()
	st, err := f.of(t, name).Statistics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := st[0].InferenceStats; s.Success.Count != calls || s.Queue.Count != calls || s.ComputeInfer.Count != calls {
		t.Errorf("%d calls are counted as %v", calls, s)
	}
}

// TestWrongRows: a handler that gives another number of rows than it got fails all calls
// of the batch.
func TestWrongRows(t *testing.T) {
	short := func(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
		in[0].Shape = []int64{in[0].Shape[0] + 1, 0}
		in[0].Data = nil
		return in, nil
	}
	f := serve(t, model("m", rowSpec(4), batch.Config{MaxBatch: 4}, short))
	_, err := f.conn.Infer(t.Context(), &client.Request{Model: "m", Inputs: []client.Tensor{vector("x", []int64{1, 1}, 1)}})
	want(t, err, codes.Internal)
}

func want(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if got := status.Code(err); got != code {
		t.Errorf("%v: %v, want %v", err, got, code)
	}
}

// TestErrors: what is wrong gets the code that says so.
func TestErrors(t *testing.T) {
	fails := func(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
		switch in[0].Data[0] {
		case 1:
			return nil, &handler.CallError{Code: uint32(codes.FailedPrecondition), Message: "not now"}
		case 2:
			panic("on purpose")
		case 3:
			return nil, nil
		}
		return nil, errors.New("it failed")
	}
	spec := handler.Spec{
		Inputs:  []call.Tensor{{Name: "x", Datatype: call.UINT8, Shape: []int64{1}}},
		Outputs: []call.Tensor{{Name: "y", Datatype: call.UINT8, Shape: []int64{1}}},
	}
	f := serve(t, model("m", spec, batch.Config{}, fails), model("free", handler.Spec{}, batch.Config{}, echo))
	input := func(b byte) client.Tensor {
		return client.Tensor{Name: "x", Datatype: "UINT8", Shape: []int64{1}, Data: []byte{b}}
	}
	large := client.Tensor{Name: "x", Datatype: "UINT8", Shape: []int64{65 << 20}, Data: make([]byte, 65<<20)}
	for _, c := range []struct {
		what string
		r    *client.Request
		code codes.Code
	}{
		{"an error", &client.Request{Model: "m", Inputs: []client.Tensor{input(0)}}, codes.Internal},
		{"a code", &client.Request{Model: "m", Inputs: []client.Tensor{input(1)}}, codes.FailedPrecondition},
		{"a panic", &client.Request{Model: "m", Inputs: []client.Tensor{input(2)}}, codes.Internal},
		{"an output that is not there", &client.Request{Model: "m", Inputs: []client.Tensor{input(3)}, Outputs: []client.Output{{Name: "y"}}}, codes.Internal},
		{"no model", &client.Request{Model: "nobody", Inputs: []client.Tensor{input(0)}}, codes.NotFound},
		{"no version", &client.Request{Model: "m", Version: "7", Inputs: []client.Tensor{input(0)}}, codes.NotFound},
		{"no input", &client.Request{Model: "m"}, codes.InvalidArgument},
		{"an unknown output", &client.Request{Model: "m", Inputs: []client.Tensor{input(0)}, Outputs: []client.Output{{Name: "z"}}}, codes.InvalidArgument},
		{"another shape", &client.Request{Model: "m", Inputs: []client.Tensor{{Name: "x", Datatype: "UINT8", Shape: []int64{2}, Data: []byte{1, 2}}}}, codes.InvalidArgument},
		{"by reference", &client.Request{Model: "free", Inputs: []client.Tensor{{Name: "x", Datatype: "UINT8", Shape: []int64{1}, Path: "sessions/s/f"}}}, codes.FailedPrecondition},
		{"more than is allowed", &client.Request{Model: "free", Inputs: []client.Tensor{large}}, codes.ResourceExhausted},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := f.conn.Infer(t.Context(), c.r)
			want(t, err, c.code)
		})
	}
}

// TestCancel: who gives up gets his answer at once, and what he had is free when the
// handler has let go.
func TestCancel(t *testing.T) {
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	slow := func(context.Context, []handler.Array, map[string]any) ([]handler.Array, error) {
		entered <- struct{}{}
		<-leave
		return nil, nil
	}
	f := serve(t, model("slow", handler.Spec{}, batch.Config{}, slow))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	r := &client.Request{Model: "slow", Inputs: []client.Tensor{vector("x", []int64{1}, 1)}}
	go func() { _, err := f.conn.Infer(ctx, r); done <- err }()
	<-entered
	waiting, stop := context.WithCancel(t.Context())
	go func() { _, err := f.conn.Infer(waiting, r); done <- err }()
	eventually(t, "the second one waits", func() bool { return f.waiting(t, "slow") == 1 })
	stop() // in the queue
	want(t, <-done, codes.Canceled)
	eventually(t, "it left the queue", func() bool { return f.waiting(t, "slow") == 0 })
	cancel() // in the handler
	want(t, <-done, codes.Canceled)
	if n := f.arena.Stats().Regions; n == 0 {
		t.Error("the handler's memory was freed under it")
	}
	close(leave)
	f.taken(t, 0)
}

// TestFull: more calls than may wait are refused, with the depth.
func TestFull(t *testing.T) {
	leave := make(chan struct{})
	slow := func(context.Context, []handler.Array, map[string]any) ([]handler.Array, error) {
		<-leave
		return []handler.Array{}, nil
	}
	f := serve(t, model("slow", handler.Spec{}, batch.Config{MaxQueue: 2}, slow))
	r := &client.Request{Model: "slow", Inputs: []client.Tensor{vector("x", []int64{1}, 1)}}
	var all sync.WaitGroup
	var full atomic.Int64
	for range 20 {
		all.Go(func() {
			_, err := f.conn.Infer(t.Context(), r)
			if status.Code(err) == codes.ResourceExhausted {
				if full.Add(1) == 15 {
					close(leave)
				}
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := full.Load(); n < 15 || n > 17 {
		t.Errorf("%d of 20 calls were refused: one runs, and two wait", n)
	}
}

// TestDrain: a server that ends answers what runs.
func TestDrain(t *testing.T) {
	entered, leave := make(chan struct{}, 1), make(chan struct{})
	slow := func(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
		entered <- struct{}{}
		<-leave
		return in, nil
	}
	f := serve(t, model("slow", handler.Spec{}, batch.Config{}, slow))
	done := make(chan error, 1)
	go func() {
		got, err := f.conn.Infer(t.Context(), &client.Request{Model: "slow", Inputs: []client.Tensor{vector("x", []int64{1}, 5)}})
		if err == nil {
			got.Free()
		}
		done <- err
	}()
	<-entered
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		f.Drain(ctx)
	}()
	select {
	case <-ended:
		t.Error("it ended while a call ran")
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	if err := <-done; err != nil {
		t.Errorf("the call that ran: %v", err)
	}
	<-ended
}

// TestLoadUnload: a model that is unloaded answers what waits, and comes back.
func TestLoadUnload(t *testing.T) {
	f := serve(t, model("echo", handler.Spec{}, batch.Config{}, echo))
	r := &client.Request{Model: "echo", Inputs: []client.Tensor{vector("x", []int64{1}, 1)}}
	for range 3 {
		if err := f.conn.Unload(t.Context(), "echo"); err != nil {
			t.Fatal(err)
		}
		if st := f.Models()[0]; st.State != "UNAVAILABLE" || st.Reason != "unloaded" {
			t.Errorf("unloaded, it is %+v", st)
		}
		if err := f.conn.Load(t.Context(), "echo"); err != nil {
			t.Fatal(err)
		}
		got, err := f.conn.Infer(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		got.Free()
	}
}

// waiting is how many calls of a model are in its queue.
func (f *fixture) waiting(t *testing.T, name string) int {
	t.Helper()
	return int(f.metric(t, "modelfs_inference_waiting", name))
}

// TestDrainOfWatched: who watches health, or has a stream in which nothing happens, does
// not keep a server from its end.
func TestDrainOfWatched(t *testing.T) {
	f := serve(t, model("echo", handler.Spec{}, batch.Config{}, echo))
	conn, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	stream, err := f.conn.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f.Drain(ctx)
	if ctx.Err() != nil {
		t.Error("it waited for them")
	}
	if got, err := watch.Recv(); err != nil || got.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("who watched got %v, %v", got, err)
	}
}
