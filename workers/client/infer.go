// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers/inference"
	"github.com/modelfs/modelfs/workers/internal/wire"
)

var errNotConnected = errors.New("not connected yet")

// Infer makes one call. The response is to be freed.
func (c *Client) Infer(ctx context.Context, r *Request) (*Response, error) {
	var out wire.InferResponse
	call := func(options ...grpc.CallOption) error {
		in, err := r.message(c.model)
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		return c.calls.Invoke(ctx, inference.GRPCInferenceService_ModelInfer_FullMethodName, in, &out, options...)
	}
	var err error
	if r.repeatable() {
		err = c.repeat(ctx, c.modelOf(r), func() error { return call() })
	} else if err = c.wait(ctx, c.modelOf(r), errNotConnected); err == nil {
		err = call(grpc.MaxRetryRPCBufferSize(0)) // an attempt that was sent is the only one
	}
	if err != nil {
		return nil, err
	}
	return response(&out)
}

func (c *Client) modelOf(r *Request) string {
	if r.Model != "" {
		return r.Model
	}
	return c.model
}

// Stream is any number of calls whose responses come as they are made: for models
// that answer a call more than once. One goroutine at a time may send, and one receive.
type Stream struct {
	model  string
	stream grpc.ClientStream
	cancel context.CancelFunc
}

// Stream begins one. It ends with Close, or with the context.
func (c *Client) Stream(ctx context.Context) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{model: c.model, cancel: cancel}
	err := c.repeat(ctx, c.model, func() (err error) {
		description := &grpc.StreamDesc{StreamName: "ModelStreamInfer", ServerStreams: true, ClientStreams: true}
		s.stream, err = c.calls.NewStream(ctx, description, inference.GRPCInferenceService_ModelStreamInfer_FullMethodName)
		return err
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// Send makes a call.
func (s *Stream) Send(r *Request) error {
	in, err := r.message(s.model)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err := s.stream.SendMsg(in); !errors.Is(err, io.EOF) {
		return err
	}
	var out wire.StreamResponse // what broke the stream
	return s.stream.RecvMsg(&out)
}

// ErrFailed is a call of a stream that failed; the stream goes on.
type ErrFailed struct {
	ID, Message string // the request's, and what was wrong
	Code        codes.Code
}

func (e *ErrFailed) Error() string { return e.Message }

// GRPCStatus is for status.Code, as with other errors.
func (e *ErrFailed) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// Recv returns the next response, which is to be freed. io.EOF: there are no more.
// *ErrFailed: a call failed. Any other error ends the stream.
func (s *Stream) Recv() (*Response, error) {
	var out wire.StreamResponse
	if err := s.stream.RecvMsg(&out); err != nil {
		return nil, err
	}
	if out.ErrorMessage != "" {
		out.Free()
		e := &ErrFailed{Message: out.ErrorMessage, Code: codes.Unknown} // other servers do not say it
		if out.Response != nil {
			e.ID = out.Response.Message.Id
			if code := out.Response.Message.Parameters["modelfs_code"].GetInt64Param(); code > 0 && code <= int64(codes.Unauthenticated) {
				e.Code = codes.Code(code)
			}
		}
		return nil, e
	}
	if out.Response == nil {
		return nil, ErrAnswer
	}
	return response(out.Response)
}

// CloseSend says that no more calls come: Recv returns what is left.
func (s *Stream) CloseSend() error { return s.stream.CloseSend() }

// Close ends the stream, and the calls that run.
func (s *Stream) Close() { s.cancel() }
