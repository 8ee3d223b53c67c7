// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/modelfs/modelfs/workers/call"
)

var (
	// ErrGone says that the handler died, hung or outgrew its memory while it had the
	// call, or that there is none: the call can be made again.
	ErrGone = errors.New("handler is gone")
	// ErrNotBegun says, with ErrGone, that the handler had not come to the call.
	ErrNotBegun = errors.New("it had not begun the call")
	// ErrProtocol says that a handler sent what it may not.
	ErrProtocol = errors.New("handler broke the protocol")
)

// CallError is what a handler says of a call that failed: a gRPC code and a text.
type CallError struct {
	Code    uint32
	Message string
}

func (e *CallError) Error() string { return e.Message }

// Spec is what a model takes and gives. A dimension of -1 is any number; where batches
// are, the first dimension is the batch's and is not in Shape.
type Spec struct {
	Platform    string        // "python", "onnxruntime_onnx", "go"
	Inputs      []call.Tensor // empty: not said, anything is passed on
	Outputs     []call.Tensor
	MaxBatch    int  // rows that one call takes; 0: it has no batches
	Decoupled   bool // any number of responses to a call
	Concurrency int  // calls at a time in one handler, at least 1
	Ahead       int  // calls more that it may be given: it comes to them in their order
}

// Handler runs one model. Infer is called by as many goroutines as Spec.Concurrency and
// Spec.Ahead are together.
type Handler interface {
	Spec() Spec
	// Infer runs one call. emit is given each response, in order, before Infer returns;
	// what a response refers to is valid until emit returns, unless it lies in the
	// request's Room. The handler makes a further response only when emit has returned for
	// the one before, into what Room returns then. When the context is over, Infer tells
	// the handler and returns, see Request.Released. Errors: *CallError, ErrGone,
	// ErrNotBegun, ErrProtocol, the context's, emit's, Room's.
	Infer(ctx context.Context, req *Request, emit func(*Response) error) error
	Close() error
}

// File is memory that a handler maps. It is the same file as long as Key is the same.
type File struct {
	Key      uint64 // not 0
	FD       *os.File
	Size     int64
	Writable bool
	// Data is the file mapped here; nil for a client's, which is never mapped.
	Data []byte
}

// Place is a piece of a File.
type Place struct {
	File   *File
	Offset int64
	Bytes  int64
}

// Data is a place's bytes, where they are mapped here; nil elsewhere.
func (p Place) Data() []byte {
	if p.File == nil || p.File.Data == nil {
		return nil
	}
	return p.File.Data[p.Offset : p.Offset+p.Bytes : p.Offset+p.Bytes]
}

// Tensor is one with its bytes.
type Tensor struct {
	call.Tensor
	Place
}

// Request is one execution: a call, or a batch of them joined along the first dimension.
type Request struct {
	Inputs []Tensor
	// Outputs are those that are asked for; nil: all. One with a File is to lie there,
	// from Offset, in at most Bytes.
	Outputs    []Tensor
	Rows       int // of the batch; 0: not batched
	Parameters map[string]any
	// Room returns memory for outputs, at least so many bytes, which belongs to the caller
	// of Infer. What it returned before, or First, is not used by the handler any more then.
	// It is called by the goroutine that called Infer.
	Room func(bytes int64) (Place, error)
	// First is what Room would return first, taken before; may be the zero Place.
	First Place
	// Deadline is when the answer is worth nothing any more; zero: never.
	Deadline time.Time
	// Released is called once, when the handler uses none of the memory above any more:
	// before Infer returns, or later and from anywhere, when Infer returned early because
	// its context was over or emit failed. Until then nothing of it may be given to anybody
	// else. nil: Infer does not return early, it waits until the memory is free.
	Released func()
}

// Response is what came out. Nothing of it may be kept beyond emit, shapes included.
type Response struct {
	Outputs []Tensor
	// Final says that it is the call's last. Of a decoupled model the last may have no
	// outputs: it says only that no more come.
	Final bool
	// Began is when the handler came to the call, if it was given it before; else zero.
	Began time.Time
}
