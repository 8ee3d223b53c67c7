// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/modelfs/modelfs/workers/inference"
)

// TestMarshal: the bytes are what protobuf reads, whatever the sizes, and tensors are
// given back once, when gRPC frees them.
func TestMarshal(t *testing.T) {
	for _, sizes := range [][]int{nil, {0}, {1}, {small}, {small + 1}, {1 << 20}, {10, 1 << 16, 0, 5000, small, 3}} {
		response := exampleResponse()
		response.RawOutputContents = nil
		wire := &InferResponse{Message: proto.CloneOf(response)}
		given := make([]int, len(sizes))
		for i, n := range sizes {
			b := bytes.Repeat([]byte{byte(i + 1)}, n)
			response.RawOutputContents = append(response.RawOutputContents, b)
			wire.Raw = append(wire.Raw, Borrow(b, func() { given[i]++ }))
		}
		stream := &StreamResponse{ErrorMessage: "half", Response: wire}
		buffers, err := stream.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got := &pb.ModelStreamInferResponse{}
		if err := proto.Unmarshal(buffers.Materialize(), got); err != nil {
			t.Fatal(err)
		}
		if want := (&pb.ModelStreamInferResponse{ErrorMessage: "half", InferResponse: response}); !proto.Equal(got, want) {
			t.Errorf("%v: read as %.200v", sizes, got)
		}
		for i, n := range sizes {
			if n > small && given[i] != 0 {
				t.Errorf("%v: tensor %d was given back before it was sent", sizes, i)
			}
		}
		if _, err := stream.Marshal(); !errors.Is(err, ErrSent) {
			t.Errorf("sent twice: %v", err)
		}
		buffers.Free()
		for i, n := range given {
			if n != 1 {
				t.Errorf("%v: tensor %d was given back %d times", sizes, i, n)
			}
		}
	}
}

// TestMarshalInPlace: large tensors are not copied.
func TestMarshalInPlace(t *testing.T) {
	data := make([]byte, 1<<20)
	request := &InferRequest{Message: &pb.ModelInferRequest{ModelName: "m"}, Raw: []Raw{Borrow(data, nil)}}
	buffers, err := request.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if len(buffers) != 2 || &buffers[1].ReadOnlyData()[0] != &data[0] {
		t.Errorf("%d buffers, and the second is not the tensor", len(buffers))
	}
}

// TestMarshalFails: what cannot be sent is given back.
func TestMarshalFails(t *testing.T) {
	given := 0
	response := &InferResponse{
		Message: &pb.ModelInferResponse{ModelName: "\xff"},
		Raw:     []Raw{Borrow(make([]byte, 1<<16), func() { given++ })},
	}
	if _, err := response.Marshal(); err == nil {
		t.Fatal("a name that is no UTF-8 was sent")
	}
	response.Free()
	if given != 1 {
		t.Errorf("the tensor was given back %d times", given)
	}
}
