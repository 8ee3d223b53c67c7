// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/client"
	"github.com/modelfs/modelfs/workers/handler"
)

// TestStreamCodes: a call of a stream fails with the code that it fails with by itself.
func TestStreamCodes(t *testing.T) {
	f := serve(t, model("m", handler.Spec{}, batch.Config{}, func(_ context.Context, _ []handler.Array, p map[string]any) ([]handler.Array, error) {
		if code := p["code"].(int64); code != 0 {
			return nil, &handler.CallError{Code: uint32(code), Message: "mine"}
		}
		return nil, errors.New("something broke")
	}))
	s, err := f.of(t, "m").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for code, want := range map[codes.Code]codes.Code{
		codes.InvalidArgument: codes.InvalidArgument, codes.Unavailable: codes.Unavailable, 0: codes.Internal,
	} {
		in := []client.Tensor{{Name: "n", Datatype: "UINT8", Shape: []int64{1}, Data: []byte{1}}}
		if err := s.Send(&client.Request{Inputs: in, Parameters: map[string]any{"code": int64(code)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); status.Code(err) != want {
			t.Errorf("%v %v, want %v", status.Code(err), err, want)
		}
	}
}
