// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/modelfs/modelfs/registry"
)

// filled is a registry of n resident items of one byte in groups of a hundred;
// key k is in group k/100. It has room for no more.
func filled(b *testing.B, n int, cfg registry.Config[int, int]) *registry.Registry[int, int] {
	b.Helper()
	cfg.Budget = int64(n)
	cfg.Group = func(k int) string { return fmt.Sprint("model-", k/100) }
	cfg.Evict = func(int, int) error { return nil }
	r := registry.New(cfg)
	b.Cleanup(r.Close)
	for k := range n {
		take(b, r, k).Release()
	}
	return r
}

func take(b *testing.B, r *registry.Registry[int, int], k int) *registry.Lease[int] {
	l, err := r.Acquire(context.Background(), k, 1, func(context.Context) (int, error) { return k, nil })
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func BenchmarkHit(b *testing.B) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		for _, n := range []int{1, 10_000, 100_000} {
			b.Run(fmt.Sprintf("items=%d/ttl=%v", n, ttl > 0), func(b *testing.B) {
				r := filled(b, n, registry.Config[int, int]{TTL: ttl, Wake: func() {}})
				b.ReportAllocs()
				k := 0
				for b.Loop() {
					k = (k + 7919) % n
					take(b, r, k).Release()
				}
			})
		}
	}
}

func BenchmarkHitParallel(b *testing.B) {
	r := filled(b, 10_000, registry.Config[int, int]{})
	b.RunParallel(func(pb *testing.PB) {
		for k := 0; pb.Next(); k = (k + 7919) % 10_000 {
			take(b, r, k).Release()
		}
	})
}

// BenchmarkMissEvict loads an item for which another one has to go.
func BenchmarkMissEvict(b *testing.B) {
	for _, policy := range []registry.Policy{registry.LRU, registry.LFU} {
		for _, n := range []int{100, 10_000, 100_000} {
			b.Run(fmt.Sprintf("policy=%d/items=%d", policy, n), func(b *testing.B) {
				r := filled(b, n, registry.Config[int, int]{Policy: policy})
				b.ReportAllocs()
				for k := n; b.Loop(); k++ {
					take(b, r, k).Release()
				}
			})
		}
	}
}

// BenchmarkCloseAndSweep is a close with a TTL, and what the clock does then.
func BenchmarkCloseAndSweep(b *testing.B) {
	var woken bool
	r := filled(b, 100_000, registry.Config[int, int]{TTL: time.Hour, Wake: func() { woken = true }})
	r.Sweep()
	for b.Loop() {
		woken = false
		take(b, r, 7).Release()
		if woken {
			r.Sweep()
		}
	}
}

// BenchmarkGroup asks about one group of a hundred among 100,000 items.
func BenchmarkGroup(b *testing.B) {
	b.Run("Keys", func(b *testing.B) {
		r := filled(b, 100_000, registry.Config[int, int]{})
		for b.Loop() {
			r.Keys("model-7")
		}
	})
	b.Run("EvictGroup", func(b *testing.B) {
		r := filled(b, 100_000, registry.Config[int, int]{})
		for b.Loop() {
			_ = r.EvictGroup("model-7")
			for k := 700; k < 800; k++ {
				take(b, r, k).Release()
			}
		}
	})
	b.Run("Retry", func(b *testing.B) {
		r := filled(b, 100_000, registry.Config[int, int]{})
		for b.Loop() {
			take(b, r, 7).Release()
			r.Retry()
		}
	})
	b.Run("Max", func(b *testing.B) {
		r := filled(b, 100_000, registry.Config[int, int]{MaxGroups: 1000})
		for k := 100_000; b.Loop(); k += 100 {
			take(b, r, k).Release()
		}
	})
}

// BenchmarkMissAfterUse is the first miss after every one of 100,000 items was used
// again: the queue has to look at each of them, once.
func BenchmarkMissAfterUse(b *testing.B) {
	const n = 100_000
	r := filled(b, n, registry.Config[int, int]{})
	for k := n; b.Loop(); k++ {
		b.StopTimer()
		for i := k - n; i < k; i++ {
			take(b, r, i).Release()
		}
		b.StartTimer()
		take(b, r, k).Release()
	}
}
