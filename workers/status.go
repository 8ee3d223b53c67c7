// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/handler"
	"github.com/modelfs/modelfs/workers/internal/wire"
	"github.com/modelfs/modelfs/workers/reference"
)

var (
	// ErrNoModel says that no model of that name and version is served.
	ErrNoModel = errors.New("no such model")
	// ErrNotReady says that a model is not ready, or not any more. The text has the reason.
	ErrNotReady = errors.New("model is not ready")
	// ErrUnknownCaller says that something is for callers that are known.
	ErrUnknownCaller = errors.New("nobody says who calls")
	// ErrUnsupported says that a model, or this server, does not do that.
	ErrUnsupported = errors.New("not supported")
	// ErrDeadly says that a handler died at a call that was made before: it may be the call
	// that kills them.
	ErrDeadly = errors.New("the handler died at a call that was repeated, and is not to be once more")
	// ErrOutput says that a handler answered something else than its model gives.
	ErrOutput = errors.New("wrong answer of the handler")
	// ErrStalled says that a client does not read what it is sent.
	ErrStalled = errors.New("the client does not read")
	// ErrRoom says that there is no memory for a call's tensors.
	ErrRoom = errors.New("no memory for the tensors")
)

// codeTable is what every error of the parts means to a caller; the first match counts.
var codeTable = []struct {
	err  error
	code codes.Code
}{
	{ErrNoModel, codes.NotFound},
	{ErrNotReady, codes.Unavailable},
	{ErrUnknownCaller, codes.PermissionDenied},
	{ErrUnsupported, codes.Unimplemented},
	{ErrDeadly, codes.Unavailable},
	{ErrOutput, codes.Internal},
	{ErrRoom, codes.ResourceExhausted},
	{ErrStalled, codes.ResourceExhausted},
	{call.ErrSequences, codes.Unimplemented},
	{batch.ErrFull, codes.ResourceExhausted},
	{batch.ErrTooLarge, codes.InvalidArgument},
	{batch.ErrExpired, codes.DeadlineExceeded},
	{batch.ErrClosed, codes.Unavailable},
	{handler.ErrGone, codes.Unavailable},
	{handler.ErrNotBegun, codes.Unavailable},
	{handler.ErrProtocol, codes.Internal},
	{reference.ErrUnknownCaller, codes.PermissionDenied},
	{reference.ErrPlace, codes.InvalidArgument},
	{reference.ErrNotExist, codes.NotFound},
	{reference.ErrPermission, codes.PermissionDenied},
	{reference.ErrBounds, codes.OutOfRange},
	{reference.ErrMismatch, codes.InvalidArgument},
	{reference.ErrLimit, codes.ResourceExhausted},
	{reference.ErrUnavailable, codes.Unavailable},
	{reference.ErrOff, codes.FailedPrecondition},
	{reference.ErrExists, codes.AlreadyExists},
	{reference.ErrNoRegion, codes.NotFound},
	{caller.ErrToken, codes.Unauthenticated},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// codeOf is an error's gRPC code.
func codeOf(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	if _, ok := errors.AsType[*call.Error](err); ok {
		return codes.InvalidArgument
	}
	if e, ok := errors.AsType[*handler.CallError](err); ok {
		if c := codes.Code(e.Code); c != codes.OK && c <= codes.Unauthenticated {
			return c
		}
		return codes.Internal
	}
	for _, row := range codeTable {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return codes.Internal
}

// failure makes an error one that gRPC sends.
func failure(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	s := status.New(codeOf(err), err.Error())
	if errors.Is(err, ErrDeadly) {
		if final, err := s.WithDetails(wire.DiedAgain); err == nil { // it can be marshalled
			s = final
		}
	}
	return s.Err()
}
