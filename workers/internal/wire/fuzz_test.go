// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/modelfs/modelfs/workers/inference"
)

// FuzzUnmarshal splits bytes at any places into buffers: what is made of them has to
// be what proto.Unmarshal makes of them in one piece, and every buffer has to be given
// back.
func FuzzUnmarshal(f *testing.F) {
	request, err := proto.Marshal(exampleRequest())
	if err != nil {
		f.Fatal(err)
	}
	response, err := proto.Marshal(&pb.ModelStreamInferResponse{ErrorMessage: "e", InferResponse: exampleResponse()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request, uint64(1), uint8(3))
	f.Add(response, uint64(2), uint8(9))
	f.Add(append(response, response...), uint64(3), uint8(1))
	group := protowire.AppendTag(nil, 9, protowire.StartGroupType)
	group = protowire.AppendTag(group, 9, protowire.EndGroupType)
	f.Add(append(group, request...), uint64(4), uint8(5))
	f.Add([]byte{0x3a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, uint64(5), uint8(2))
	f.Add([]byte{0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f}, uint64(6), uint8(2))
	f.Add([]byte{0x3d, 1, 2, 3, 4, 0x38, 0x01}, uint64(7), uint8(2)) // field 7 of other types
	f.Fuzz(func(t *testing.T, b []byte, seed uint64, size uint8) {
		buffers := newSplit(b, rand.New(rand.NewPCG(seed, 0)), int(size)+1)

		var in InferRequest
		want := &pb.ModelInferRequest{}
		agree(t, in.Unmarshal(buffers.slice), proto.Unmarshal(b, want), len(want.RawInputContents), func() {
			same(t, in.Pieces(), want.RawInputContents)
			want.RawInputContents = nil
			equal(t, in.Message, want)
		})
		in.Free()

		var out InferResponse
		wantOut := &pb.ModelInferResponse{}
		agree(t, out.Unmarshal(buffers.slice), proto.Unmarshal(b, wantOut), len(wantOut.RawOutputContents), func() {
			same(t, out.Pieces(), wantOut.RawOutputContents)
			wantOut.RawOutputContents = nil
			equal(t, out.Message, wantOut)
		})
		out.Free()

		var stream StreamResponse
		wantStream := &pb.ModelStreamInferResponse{}
		err := proto.Unmarshal(b, wantStream)
		agree(t, stream.Unmarshal(buffers.slice), err, len(wantStream.GetInferResponse().GetRawOutputContents()), func() {
			if stream.ErrorMessage != wantStream.ErrorMessage || (stream.Response == nil) != (wantStream.InferResponse == nil) {
				t.Fatalf("%+v, want %v", stream, wantStream)
			}
			if stream.Response == nil {
				return
			}
			same(t, stream.Response.Pieces(), wantStream.InferResponse.RawOutputContents)
			wantStream.InferResponse.RawOutputContents = nil
			equal(t, stream.Response.Message, wantStream.InferResponse)
		})
		stream.Free()

		buffers.slice.Free()
		if buffers.out != 0 {
			t.Errorf("%d buffers were not given back", buffers.out)
		}
	})
}

// agree compares two answers, and the contents if both took the message.
func agree(t *testing.T, err, want error, raw int, contents func()) {
	t.Helper()
	if raw > MaxRaw {
		if !errors.Is(err, ErrTooMany) {
			t.Fatalf("%d raw entries: %v", raw, err)
		}
		return
	}
	if (err == nil) != (want == nil) && !errors.Is(err, ErrTooMany) {
		t.Fatalf("%v, and proto.Unmarshal says %v", err, want)
	}
	if err == nil {
		contents()
	}
}

func same(t *testing.T, pieces [][][]byte, want [][]byte) {
	t.Helper()
	if len(pieces) != len(want) {
		t.Fatalf("%d raw entries, want %d", len(pieces), len(want))
	}
	for i, p := range pieces {
		if got := bytes.Join(p, nil); !bytes.Equal(got, want[i]) {
			t.Fatalf("entry %d is % x, want % x", i, got, want[i])
		}
	}
}

// equal compares the bytes: a float that is no number equals itself there.
func equal(t *testing.T, got, want proto.Message) {
	t.Helper()
	deterministic := proto.MarshalOptions{Deterministic: true}
	a, err := deterministic.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := deterministic.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// split is bytes in buffers that are counted.
type split struct {
	slice mem.BufferSlice
	out   int
}

func newSplit(b []byte, random *rand.Rand, largest int) *split {
	s := &split{}
	for len(b) > 0 || random.IntN(4) == 0 {
		n := min(random.IntN(largest+1), len(b))
		piece := append(make([]byte, 0, 2048), b[:n]...) // gRPC counts no buffer of less
		s.slice = append(s.slice, mem.NewBuffer(&piece, s))
		s.out++
		b = b[n:]
	}
	return s
}

func (s *split) Get(n int) *[]byte { b := make([]byte, n); return &b }

func (s *split) Put(*[]byte) { s.out-- }
