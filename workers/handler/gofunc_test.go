// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"context"
	"testing"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/handler"
)

// TestTextsByReference: of texts that a client names nobody has looked at the lengths yet. A
// function gets them if they are as their shape says, else it is the client's mistake.
func TestTextsByReference(t *testing.T) {
	const invalidArgument = 3
	h := handler.Func(handler.Spec{}, func(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
		return in, nil
	})
	file, out := memory(t, 4096), memory(t, 4096)
	copy(file.Data, "\x02\x00\x00\x00ab\x00\x00\x00\x00")
	file.Data = nil // a client's is not mapped
	for _, c := range []struct {
		bytes, elements int64
		good            bool
	}{{10, 2, true}, {6, 1, true}, {10, 1, false}, {10, 3, false}, {9, 2, false}, {3, 1, false}} {
		got, err := infer(t, h, &handler.Request{
			Inputs: []handler.Tensor{tensor(file, "t", call.BYTES, 0, c.bytes, c.elements)}, First: handler.Place{File: out, Bytes: 4096},
		})
		if c.good && (err != nil || int64(len(got[0].bytes["t"])) != c.bytes) {
			t.Errorf("%d elements of %d bytes: %v %v", c.elements, c.bytes, got, err)
		}
		if !c.good && callError(t, err).Code != invalidArgument {
			t.Errorf("%d elements of %d bytes: %v", c.elements, c.bytes, err)
		}
	}
}
