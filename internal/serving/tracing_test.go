// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// sink takes the spans of a collector.
type sink struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans map[string]string // name to the service that it came from
}

func (s *sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range r.ResourceSpans {
		service := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				s.spans[span.Name] = service
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// TestTraces: a call is a span at the endpoint that the environment names.
func TestTraces(t *testing.T) {
	into := &sink{spans: make(map[string]string)}
	to := grpc.NewServer()
	collector.RegisterTraceServiceServer(to, into)
	at := serveAt(t, to)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+at)
	getenv := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + at}
	if !TracesWanted(func(k string) string { return getenv[k] }) || TracesWanted(func(string) string { return "" }) {
		t.Error("traces are sent where an endpoint is configured, and nowhere else")
	}

	stats, end, err := startTracing(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	traced := grpc.NewServer(grpc.StatsHandler(stats), grpc.WaitForHandlers(true))
	healthpb.RegisterHealthServer(traced, health.NewServer())
	conn, err := grpc.NewClient(serveAt(t, traced), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	traced.Stop() // the span ends after the answer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := end(ctx); err != nil {
		t.Fatal(err)
	}
	into.mu.Lock()
	defer into.mu.Unlock()
	if into.spans["grpc.health.v1.Health/Check"] != "modelfs" {
		t.Errorf("the collector got %v", into.spans)
	}
}

func serveAt(t *testing.T, s *grpc.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { s.Stop(); serving.Wait() })
	return l.Addr().String()
}
