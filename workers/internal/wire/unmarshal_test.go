// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"math/rand/v2"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/modelfs/modelfs/workers/inference"
)

func exampleRequest() *pb.ModelInferRequest {
	return &pb.ModelInferRequest{
		ModelName: "m", ModelVersion: "1", Id: "7",
		Parameters: map[string]*pb.InferParameter{"p": {ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: -1}}},
		Inputs: []*pb.ModelInferRequest_InferInputTensor{
			{Name: "a", Datatype: "FP32", Shape: []int64{2, 3}},
			{Name: "b", Datatype: "UINT8", Shape: []int64{0}},
		},
		Outputs:          []*pb.ModelInferRequest_InferRequestedOutputTensor{{Name: "o"}},
		RawInputContents: [][]byte{[]byte("abcdefghijklmnopqrstuvwx"), {}},
	}
}

func exampleResponse() *pb.ModelInferResponse {
	return &pb.ModelInferResponse{
		ModelName: "m", ModelVersion: "1", Id: "7",
		Outputs:           []*pb.ModelInferResponse_InferOutputTensor{{Name: "o", Datatype: "FP32", Shape: []int64{2}}},
		RawOutputContents: [][]byte{[]byte("abcdefgh"), []byte("x")},
	}
}

// TestUnmarshalRefuses: each byte fewer than a message that ends in a raw entry.
func TestUnmarshalRefuses(t *testing.T) {
	whole := protowire.AppendTag(nil, rawInputContents, protowire.BytesType)
	whole = protowire.AppendBytes(whole, make([]byte, 300))
	for n := 1; n < len(whole); n++ {
		var in InferRequest
		if err := in.Unmarshal(mem.BufferSlice{mem.SliceBuffer(whole[:n])}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d of %d bytes: %v, want ErrMalformed", n, len(whole), err)
		}
	}
}

func TestUnmarshalTooMany(t *testing.T) {
	group := protowire.AppendTag(nil, 99, protowire.StartGroupType)
	group = protowire.AppendTag(group, 99, protowire.EndGroupType)
	for _, c := range []struct {
		name  string
		first []byte
	}{{"scanned", nil}, {"whole", group}} {
		for _, n := range []int{MaxRaw, MaxRaw + 1} {
			b, err := proto.MarshalOptions{}.MarshalAppend(c.first, &pb.ModelInferRequest{RawInputContents: make([][]byte, n)})
			if err != nil {
				t.Fatal(err)
			}
			var in InferRequest
			err = in.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)})
			if want := n > MaxRaw; want != errors.Is(err, ErrTooMany) || (err == nil) == want || (!want && len(in.Raw) != n) {
				t.Errorf("%s, %d entries: %d, %v", c.name, n, len(in.Raw), err)
			}
		}
	}
}

// TestUnmarshalKeeps: the raw entries lie where they arrived.
func TestUnmarshalKeeps(t *testing.T) {
	want := exampleRequest()
	want.RawInputContents[0] = make([]byte, 100_000)
	b, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	s := newSplit(b, rand.New(rand.NewPCG(1, 1)), 16<<10)
	var in InferRequest
	if err := in.Unmarshal(s.slice); err != nil {
		t.Fatal(err)
	}
	buffers := len(s.slice)
	s.slice.Free() // gRPC is done with them
	if s.out == 0 || s.out > buffers {
		t.Fatalf("%d of %d buffers are kept", s.out, buffers)
	}
	same(t, in.Pieces(), want.RawInputContents)
	in.Free()
	in.Free()
	if s.out != 0 {
		t.Errorf("%d buffers were not given back", s.out)
	}
}
