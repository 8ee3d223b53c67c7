// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"

	"google.golang.org/grpc/mem"

	"github.com/modelfs/modelfs/workers/inference"
)

var (
	// ErrMalformed says that bytes are no message.
	ErrMalformed = errors.New("malformed message")
	// ErrTooMany says that a message has more than MaxRaw raw entries.
	ErrTooMany = errors.New("too many raw entries")
	// ErrSent says that a message was sent before: its memory is gRPC's.
	ErrSent = errors.New("message was sent before")
)

// MaxRaw is how many raw entries a received message has at the most.
const MaxRaw = 1024

// Raw is the bytes of one tensor, in pieces.
type Raw = mem.BufferSlice

// InferRequest is a ModelInferRequest whose raw_input_contents are Raw.
type InferRequest struct {
	Message *inference.ModelInferRequest // RawInputContents is nil
	Raw     []Raw
	sent    bool
}

// InferResponse is a ModelInferResponse whose raw_output_contents are Raw.
type InferResponse struct {
	Message *inference.ModelInferResponse // RawOutputContents is nil
	Raw     []Raw
	sent    bool
}

// StreamResponse is a ModelStreamInferResponse.
type StreamResponse struct {
	ErrorMessage string
	Response     *InferResponse // nil: none
}

// Pieces are the bytes of the raw entries, each in pieces; valid until Free.
func (r *InferRequest) Pieces() [][][]byte { return pieces(r.Raw) }

// Free gives the buffers back; it is idempotent.
func (r *InferRequest) Free() { free(&r.Raw) }

// Pieces are the bytes of the raw entries, each in pieces; valid until Free.
func (r *InferResponse) Pieces() [][][]byte { return pieces(r.Raw) }

// Free gives the buffers back; it is idempotent.
func (r *InferResponse) Free() { free(&r.Raw) }

// Free gives the buffers back; it is idempotent.
func (r *StreamResponse) Free() {
	if r.Response != nil {
		r.Response.Free()
	}
}

func pieces(raw []Raw) [][][]byte {
	n := 0
	for _, r := range raw {
		n += len(r)
	}
	out, all := make([][][]byte, len(raw)), make([][]byte, 0, n)
	for i, r := range raw {
		from := len(all)
		for _, b := range r {
			all = append(all, b.ReadOnlyData())
		}
		out[i] = all[from:len(all):len(all)]
	}
	return out
}

func free(raw *[]Raw) {
	for _, r := range *raw {
		r.Free()
	}
	*raw = nil
}
