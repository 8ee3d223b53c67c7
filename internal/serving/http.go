// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/modelfs/modelfs/workers"
)

// startHTTP serves the metrics, and health as the protocol's REST form has it.
func startHTTP(address string, srv *workers.Server, ready func() bool) (*http.Server, net.Addr, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("--http: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(srv, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /v2/health/live", func(w http.ResponseWriter, _ *http.Request) { answer(w, true, map[string]any{"live": true}) })
	mux.HandleFunc("GET /v2/health/ready", func(w http.ResponseWriter, _ *http.Request) {
		ok := ready()
		answer(w, ok, map[string]any{"ready": ok})
	})
	mux.HandleFunc("GET /v2/models", func(w http.ResponseWriter, _ *http.Request) { answer(w, true, srv.Models()) })
	h := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			_ = l.Close()
		}
	}()
	return h, l.Addr(), nil
}

func answer(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body)
}
