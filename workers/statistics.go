// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelfs/modelfs/workers/inference"
)

// duration counts how often something happened and how long it took in all, in ns.
type duration struct{ count, ns atomic.Uint64 }

func (d *duration) add(took time.Duration) { d.addMany(1, took) }

// addMany counts n events that took so long together.
func (d *duration) addMany(n int, took time.Duration) {
	d.count.Add(uint64(n))
	d.ns.Add(uint64(max(took, 0)))
}

func (d *duration) proto() *inference.StatisticDuration {
	return &inference.StatisticDuration{Count: d.count.Load(), Ns: d.ns.Load()}
}

// statistics are a model's, as Triton counts them: inferences are rows of batches,
// executions are batches. Durations of a call are those of the execution that it was in.
type statistics struct {
	success, fail, queue, input, infer, output duration

	inferences, executions atomic.Uint64
	last                   atomic.Int64 // ms since 1970

	// own is the server's own part of an execution: from decoded to encoded, less
	// waiting in the queue and for the handler.
	own histogram

	mu     sync.Mutex
	bySize map[int]*sizeStatistics // guarded by mu
}

// sizeStatistics are those of batches of one size.
type sizeStatistics struct{ input, infer, output duration }

func newStatistics() *statistics { return &statistics{bySize: make(map[int]*sizeStatistics)} }

// timing is where the time of an execution went.
type timing struct{ input, infer, output time.Duration }

// executed counts a batch of so many calls and rows that was answered.
func (s *statistics) executed(calls, rows int, t timing) {
	rows = max(rows, 1)
	s.inferences.Add(uint64(rows))
	s.executions.Add(1)
	s.last.Store(time.Now().UnixMilli())
	s.input.addMany(calls, t.input*time.Duration(calls))
	s.infer.addMany(calls, t.infer*time.Duration(calls))
	s.output.addMany(calls, t.output*time.Duration(calls))
	s.mu.Lock()
	of := s.bySize[rows]
	if of == nil {
		of = &sizeStatistics{}
		s.bySize[rows] = of
	}
	s.mu.Unlock()
	of.input.add(t.input)
	of.infer.add(t.infer)
	of.output.add(t.output)
}

// ended counts a call that came to its end.
func (s *statistics) ended(err error, took time.Duration) {
	if err != nil {
		s.fail.add(took)
	} else {
		s.success.add(took)
	}
}

// proto gives them as ModelStatistics does.
func (s *statistics) proto(name, version string) *inference.ModelStatistics {
	out := &inference.ModelStatistics{
		Name: name, Version: version,
		LastInference:  uint64(s.last.Load()),
		InferenceCount: s.inferences.Load(), ExecutionCount: s.executions.Load(),
		InferenceStats: &inference.InferStatistics{
			Success: s.success.proto(), Fail: s.fail.proto(), Queue: s.queue.proto(),
			ComputeInput: s.input.proto(), ComputeInfer: s.infer.proto(), ComputeOutput: s.output.proto(),
			CacheHit: &inference.StatisticDuration{}, CacheMiss: &inference.StatisticDuration{},
		},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rows := range slices.Sorted(maps.Keys(s.bySize)) {
		of := s.bySize[rows]
		out.BatchStats = append(out.BatchStats, &inference.InferBatchStatistics{
			BatchSize: uint64(rows), ComputeInput: of.input.proto(), ComputeInfer: of.infer.proto(), ComputeOutput: of.output.proto(),
		})
	}
	return out
}

// histogram counts durations by powers of two from a microsecond to half a minute.
type histogram struct {
	buckets [histogramBuckets + 1]atomic.Uint64 // the last: longer
	sum     atomic.Uint64                       // ns
}

const histogramBuckets = 26

// bound is the longest duration of a bucket.
func bound(bucket int) time.Duration { return time.Microsecond << bucket }

func (h *histogram) add(d time.Duration) {
	i := 0
	for i < histogramBuckets && d > bound(i) {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(max(d, 0)))
}

// cumulative gives the histogram as Prometheus wants it.
func (h *histogram) cumulative() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, histogramBuckets)
	for i := range h.buckets {
		count += h.buckets[i].Load()
		if i < histogramBuckets {
			buckets[bound(i).Seconds()] = count
		}
	}
	return count, float64(h.sum.Load()) / 1e9, buckets
}
