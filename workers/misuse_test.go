// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers"
	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/client"
	"github.com/modelfs/modelfs/workers/handler"
	"github.com/modelfs/modelfs/workers/inference"
	"github.com/modelfs/modelfs/workers/reference"
)

// raw is a client that sends what it is told.
func (f *fixture) raw(t *testing.T) inference.GRPCInferenceServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return inference.NewGRPCInferenceServiceClient(conn)
}

// withClientMemory has a server take regions of shared memory.
func withClientMemory(t *testing.T) func(*workers.Config) {
	t.Helper()
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip(err)
	}
	opener, err := reference.NewOpener(reference.Options{})
	if err != nil {
		t.Fatal(err)
	}
	refs := reference.New(opener, true)
	t.Cleanup(func() { _ = refs.Close() })
	return func(c *workers.Config) { c.References = refs }
}

// TestEndlessInputs: inputs of more bytes together than 63 bits can count, which a sparse
// file can have, are refused.
func TestEndlessInputs(t *testing.T) {
	f := serveWith(t, withClientMemory(t), model("echo", handler.Spec{}, batch.Config{}, echo))
	c := f.raw(t)
	file, err := os.CreateTemp("/dev/shm", "modelfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(file.Name()) })
	defer file.Close()
	const size = int64(1) << 62
	if err := file.Truncate(size); err != nil {
		t.Skip(err)
	}
	if _, err := c.SystemSharedMemoryRegister(t.Context(), &inference.SystemSharedMemoryRegisterRequest{
		Name: "r", Key: filepath.Base(file.Name()), ByteSize: uint64(size),
	}); err != nil {
		t.Fatal(err)
	}
	input := func(name string, bytes int64) *inference.ModelInferRequest_InferInputTensor {
		return &inference.ModelInferRequest_InferInputTensor{Name: name, Datatype: "UINT8", Shape: []int64{bytes}, Parameters: map[string]*inference.InferParameter{
			"shared_memory_region":    {ParameterChoice: &inference.InferParameter_StringParam{StringParam: "r"}},
			"shared_memory_byte_size": {ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: bytes}},
		}}
	}
	for _, count := range []int{1, 2, 4} {
		in := []*inference.ModelInferRequest_InferInputTensor{input("small", 64)}
		for i := range count {
			in = append(in, input(fmt.Sprint(i), size))
		}
		_, err := c.ModelInfer(t.Context(), &inference.ModelInferRequest{ModelName: "echo", Inputs: in})
		want(t, err, codes.ResourceExhausted)
	}
}

// TestLargeOutputOnce: what one call gave says little of the next one.
func TestLargeOutputOnce(t *testing.T) {
	grown := func(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
		for i := range in {
			n := int64(len(in[i].Data)) / in[i].Shape[0] / 4
			if n == 1 { // 40 MiB of each row
				in[i].Shape = []int64{in[i].Shape[0], 10 << 20}
				in[i].Data = make([]byte, in[i].Shape[0]*(40<<20))
			}
		}
		return in, nil
	}
	f := serve(t, model("m", rowSpec(4), batch.Config{MaxBatch: 4}, grown))
	for _, shape := range [][]int64{{1, 1}, {1, 2}, {2, 2}, {4, 2}} {
		got, err := f.conn.Infer(t.Context(), &client.Request{Model: "m", Inputs: []client.Tensor{
			vector("x", shape, make([]float32, shape[0]*shape[1])...),
		}})
		if err != nil {
			t.Errorf("%v: %v", shape, err)
			continue
		}
		got.Free()
	}
}

// streamer answers a call as often as its input says, each time in room that it asks for.
type streamer struct{ took func() }

func (*streamer) Spec() handler.Spec { return handler.Spec{Decoupled: true, Concurrency: 1} }
func (*streamer) Close() error       { return nil }

func (s *streamer) Infer(_ context.Context, req *handler.Request, emit func(*handler.Response) error) error {
	defer req.Released()
	const bytes = 1 << 20
	for i := range req.Inputs[0].Data()[0] {
		place, err := req.Room(bytes)
		if err != nil {
			return err
		}
		place.Bytes = bytes
		for at := range place.Data() {
			place.Data()[at] = i
		}
		s.took()
		if err := emit(&handler.Response{Outputs: []handler.Tensor{{Tensor: call.Tensor{Name: "y", Datatype: call.UINT8, Shape: []int64{bytes}}, Place: place}}}); err != nil {
			return err
		}
	}
	return emit(&handler.Response{Final: true})
}

// TestLongStream: a stream has as much memory as its answers that are not written yet.
func TestLongStream(t *testing.T) {
	const answers = 200
	most := 0
	var f *fixture
	s := &streamer{took: func() { most = max(most, f.arena.Stats().Regions) }}
	f = serve(t, workers.ModelConfig{Name: "m", Start: func(context.Context, int) (handler.Handler, error) { return s, nil }})
	stream, err := f.raw(t).ModelStreamInfer(t.Context(), grpc.MaxCallRecvMsgSize(4<<20))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&inference.ModelInferRequest{
		ModelName: "m", Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "n", Datatype: "UINT8", Shape: []int64{1}}}, RawInputContents: [][]byte{{answers}},
	}); err != nil {
		t.Fatal(err)
	}
	for i := range answers {
		got, err := stream.Recv()
		if err != nil || got.GetErrorMessage() != "" {
			t.Fatalf("answer %d: %v %s", i, err, got.GetErrorMessage())
		}
		b := got.GetInferResponse().GetRawOutputContents()[0]
		if b[0] != byte(i) || b[len(b)-1] != byte(i) {
			t.Errorf("answer %d has bytes of %d and %d", i, b[0], b[len(b)-1])
		}
	}
	// 16 wait to be sent, 64 MB may be on their way.
	if most > 100 {
		t.Errorf("%d regions for %d answers", most, answers)
	}
}

// TestNoRows: a model with batches that says nothing of its inputs gets rows all the same.
func TestNoRows(t *testing.T) {
	spec := handler.Spec{MaxBatch: 4}
	f := serve(t, model("m", spec, batch.Config{MaxBatch: 4}, echo))
	for _, c := range []struct {
		shapes [][]int64
		code   codes.Code
	}{
		{[][]int64{{2, 1}, {2, 3}}, codes.OK},
		{[][]int64{{}}, codes.InvalidArgument},
		{[][]int64{{0, 2}}, codes.InvalidArgument},
		{[][]int64{{2, 1}, {3, 1}}, codes.InvalidArgument},
		{[][]int64{{5, 1}}, codes.InvalidArgument},
	} {
		r := &client.Request{Model: "m"}
		for i, shape := range c.shapes {
			n := int64(1)
			for _, d := range shape {
				n *= d
			}
			r.Inputs = append(r.Inputs, vector(fmt.Sprint(i), shape, make([]float32, n)...))
		}
		got, err := f.conn.Infer(t.Context(), r)
		if err == nil {
			got.Free()
		}
		want(t, err, c.code)
	}
}

// TestOutputTwice: an output that a function gives twice, with other bytes, shows nothing
// of what lay in its memory before.
func TestOutputTwice(t *testing.T) {
	twice := func(context.Context, []handler.Array, map[string]any) ([]handler.Array, error) {
		of := func(n int64) handler.Array {
			return handler.Array{Tensor: call.Tensor{Name: "y", Datatype: call.UINT8, Shape: []int64{n}}, Data: make([]byte, n)}
		}
		return []handler.Array{of(4), of(8)}, nil
	}
	f := serve(t, model("m", handler.Spec{}, batch.Config{}, twice))
	_, err := f.conn.Infer(t.Context(), &client.Request{Model: "m", Inputs: []client.Tensor{vector("x", []int64{1}, 1)}})
	want(t, err, codes.Internal)
}

// TestDeclaredOutputs: what a function gives is what its model says of it: the datatype and
// the shape, of which the batch's rows are no part.
func TestDeclaredOutputs(t *testing.T) {
	for _, rows := range []int64{0, 2} {
		given := call.Tensor{Name: "y"}
		f := serve(t, model("m", handler.Spec{
			Inputs:   []call.Tensor{{Name: "x", Datatype: call.FP32, Shape: []int64{1}}},
			Outputs:  []call.Tensor{{Name: "y", Datatype: call.FP32, Shape: []int64{-1, 3}}},
			MaxBatch: int(rows),
		}, batch.Config{}, func(context.Context, []handler.Array, map[string]any) ([]handler.Array, error) {
			n, _ := call.Bytes(given.Shape, given.Datatype)
			return []handler.Array{{Tensor: given, Data: make([]byte, n)}}, nil
		}))
		for _, c := range []struct {
			datatype call.Datatype
			shape    []int64
			want     codes.Code
		}{
			{call.FP32, []int64{2, 3}, codes.OK},
			{call.FP32, []int64{0, 3}, codes.OK},
			{call.FP32, []int64{3}, codes.Internal},
			{call.FP32, []int64{2, 4}, codes.Internal},
			{call.FP32, []int64{2, 3, 1}, codes.Internal},
			{call.INT32, []int64{2, 3}, codes.Internal},
		} {
			x := vector("x", []int64{1}, 1)
			if given.Datatype, given.Shape = c.datatype, c.shape; rows > 0 {
				given.Shape = append([]int64{rows}, c.shape...)
				x = vector("x", []int64{rows, 1}, 1, 2)
			}
			got, err := f.of(t, "m").Infer(t.Context(), &client.Request{Inputs: []client.Tensor{x}})
			if err == nil {
				got.Free()
			}
			if status.Code(err) != c.want {
				t.Errorf("%d rows, %v %v: %v, want %v", rows, given.Shape, given.Datatype, err, c.want)
			}
		}
	}
}
