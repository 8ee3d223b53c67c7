// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"slices"
	"testing"
	"time"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/handler"
)

// BenchmarkFromIdle is a small call each 2 ms: both sides sleep before each.
func BenchmarkFromIdle(b *testing.B) {
	p := start(b, command(b, "Echo"))
	in, out := memory(b, 1<<20), memory(b, 1<<20)
	req := &handler.Request{
		Inputs: []handler.Tensor{tensor(in, "x", call.FP32, 0, 1024, 256)},
		First:  handler.Place{File: out, Bytes: 1 << 16},
	}
	var took []time.Duration
	for b.Loop() {
		time.Sleep(2 * time.Millisecond)
		begin := time.Now()
		if err := p.Infer(b.Context(), req, func(*handler.Response) error { return nil }); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*9/10].Microseconds()), "p90-µs")
}
