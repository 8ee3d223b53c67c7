// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestFaultOfTheServer: a panic in a call is that call's error, and the log has it.
func TestFaultOfTheServer(t *testing.T) {
	var log strings.Builder
	s := &Server{cfg: Config{Log: slog.New(slog.NewTextHandler(&log, nil))}}
	_, err := s.recoverUnary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/a/b"}, func(context.Context, any) (any, error) {
		panic("on purpose")
	})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "on purpose") {
		t.Errorf("the caller gets %v", err)
	}
	if !strings.Contains(log.String(), "/a/b") || !strings.Contains(log.String(), "on purpose") {
		t.Errorf("the log has %q", log.String())
	}
}
