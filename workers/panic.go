// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// recoverUnary has a fault of the server in one call fail that call alone.
func (s *Server) recoverUnary(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return next(ctx, in)
}

func (s *Server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return next(srv, stream)
}

// recovered is deferred: it makes a panic an error. What the call had is left as it is:
// nobody knows who uses it.
func (s *Server) recovered(what string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	s.cfg.Log.Error("fault of the server", "in", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	*err = status.Error(codes.Internal, "fault of the server: its log has more")
}
