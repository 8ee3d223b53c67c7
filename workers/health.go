// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/modelfs/modelfs/workers/handler"
)

// changed follows a change of a model's state: health, whoever waits, the announcement.
func (s *Server) changed(m *model) {
	s.tellHealth(m)
	s.tellOverall()
	s.mu.Lock()
	close(s.change)
	s.change = make(chan struct{})
	s.mu.Unlock()
	if s.cfg.Changed != nil {
		s.cfg.Changed()
	}
}

// changes is closed at the next change of any model's state.
func (s *Server) changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change
}

// tellHealth tells grpc.health.v1 of a model, whose service is its name.
func (s *Server) tellHealth(m *model) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if m.state().State == handler.Ready {
		status = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(m.cfg.Name, status)
}

// tellOverall tells it of the server, whose service is "" or that of the protocol.
func (s *Server) tellOverall() {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if s.Ready() {
		status = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus("inference.GRPCInferenceService", status)
}

// Ready says whether the server takes calls, and every model that is loaded can be
// called. One that somebody unloaded is not waited for.
func (s *Server) Ready() bool {
	if s.draining.Load() {
		return false
	}
	for _, m := range s.list() {
		if m.current() != nil && m.state().State != handler.Ready {
			return false
		}
	}
	return true
}
