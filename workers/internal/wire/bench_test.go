// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	pb "github.com/modelfs/modelfs/workers/inference"
)

// frames is a message in the buffers of 16 KiB in which gRPC receives it.
func frames(b *testing.B, size int) mem.BufferSlice {
	b.Helper()
	request := exampleRequest()
	request.RawInputContents = [][]byte{make([]byte, size), {}}
	all, err := proto.Marshal(request)
	if err != nil {
		b.Fatal(err)
	}
	var out mem.BufferSlice
	for len(all) > 0 {
		n := min(16<<10, len(all))
		piece := all[:n:n]
		out = append(out, mem.NewBuffer(&piece, mem.NopBufferPool{}))
		all = all[n:]
	}
	return out
}

// BenchmarkUnmarshal compares with gRPC's own codec.
func BenchmarkUnmarshal(b *testing.B) {
	for _, size := range []int{1 << 10, 100 << 20} {
		data := frames(b, size)
		b.Run(fmt.Sprintf("wire/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var in InferRequest
				if err := Codec().Unmarshal(data, &in); err != nil {
					b.Fatal(err)
				}
				in.Free()
			}
		})
		b.Run(fmt.Sprintf("proto/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := encoding.GetCodecV2("proto").Unmarshal(data, &pb.ModelInferRequest{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// discard reads a request and answers nothing.
type discard struct{ Server }

func (discard) ModelInfer(_ context.Context, in *InferRequest) (*InferResponse, error) {
	in.Free()
	return &InferResponse{Message: &pb.ModelInferResponse{}}, nil
}

// usual is the same with the generated service and gRPC's codec.
type usual struct {
	pb.UnimplementedGRPCInferenceServiceServer
}

func (usual) ModelInfer(context.Context, *pb.ModelInferRequest) (*pb.ModelInferResponse, error) {
	return &pb.ModelInferResponse{}, nil
}

// BenchmarkCall is a whole call over a Unix socket, both ends.
func BenchmarkCall(b *testing.B) {
	for _, size := range []int{1 << 10, 100 << 20} {
		tensor := make([]byte, size)
		b.Run(fmt.Sprintf("wire/%d", size), func(b *testing.B) {
			conn := dial(b, serve(b, discard{}), grpc.ForceCodecV2(Codec()))
			b.SetBytes(int64(size))
			for b.Loop() {
				in := &InferRequest{Message: &pb.ModelInferRequest{ModelName: "m"}, Raw: []Raw{Borrow(tensor, nil)}}
				if err := conn.Invoke(b.Context(), pb.GRPCInferenceService_ModelInfer_FullMethodName, in, &InferResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("proto/%d", size), func(b *testing.B) {
			conn := dial(b, serveUsual(b))
			b.SetBytes(int64(size))
			for b.Loop() {
				in := &pb.ModelInferRequest{ModelName: "m", RawInputContents: [][]byte{tensor}}
				if err := conn.Invoke(b.Context(), pb.GRPCInferenceService_ModelInfer_FullMethodName, in, &pb.ModelInferResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
