// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
)

// Next waits for one batch of at most max rows, which is over at once: what Work gives its
// workers, step by step. The calls must not ask to be run by Push.
func (q *Queue[T]) Next(ctx context.Context, max int) (Batch[T], error) {
	if err := ctx.Err(); err != nil {
		return Batch[T]{}, err
	}
	l := &lane[T]{of: &worker[T]{Worker: Worker[T]{Most: max}}, ctx: ctx, result: make(chan result[T], 1)}
	q.join(l)
	r := q.await(l)
	if r.err != nil {
		return Batch[T]{}, r.err
	}
	return batch(r.calls, r.at), nil
}

// A caller with a thousand calls that wait keeps nobody's first one waiting.
func TestOneCallerDoesNotBlockAnother(t *testing.T) {
	q := New[string](Config{MaxBatch: 4})
	defer q.Close()
	push := func(name, caller string) {
		t.Helper()
		if err := q.Push(Item[string]{Call: name, Caller: caller, Kind: "x", Rows: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		push("many", "a")
	}
	push("first", "b")
	b, err := q.Next(t.Context(), 0)
	if err != nil || len(b.Items) != 4 || b.Items[1].Call != "first" {
		t.Errorf("%+v, %v", b, err)
	}
}

// A batch that was made for a worker whose context ended at the same moment is not lost.
func TestWorkerLeavesWithItsBatch(t *testing.T) {
	for range 200 {
		q := New[int](Config{})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			b, err := q.Next(ctx, 0)
			if err == nil && len(b.Items) != 1 {
				err = fmt.Errorf("%d calls", len(b.Items))
			}
			result <- err
		}()
		go cancel()
		if err := q.Push(Item[int]{Rows: 1}); err != nil {
			t.Fatal(err)
		}
		err := <-result
		want := 0
		if errors.Is(err, context.Canceled) {
			want = 1
		} else if err != nil {
			t.Fatal(err)
		}
		if got := q.Depth(); got != want {
			t.Fatalf("the worker got %v, and %d calls wait", err, got)
		}
		q.Close()
	}
}

// Drain gives up with its context, and what waits is still there.
func TestDrainTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[int](Config{})
		if err := q.Push(Item[int]{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		if err := q.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || q.Depth() != 1 {
			t.Errorf("%v, depth %d", err, q.Depth())
		}
		q.Close()
	})
}

func BenchmarkPushNext(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": ctx} {
		b.Run(name, func(b *testing.B) {
			q := New[int](Config{MaxBatch: 8, MaxQueue: 256})
			b.ReportAllocs()
			for b.Loop() {
				if err := q.Push(Item[int]{Context: ctx, Kind: "audio FP32[512]", Rows: 1, Caller: "uid 1000"}); err != nil {
					b.Fatal(err)
				}
				if _, err := q.Next(ctx, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Sixteen calls of four callers for two batches.
func BenchmarkBatch(b *testing.B) {
	q := New[int](Config{MaxBatch: 8})
	callers := []string{"uid 1", "uid 2", "uid 3", "uid 4"}
	b.ReportAllocs()
	for b.Loop() {
		for i := range 16 {
			if err := q.Push(Item[int]{Kind: "x", Rows: 1, Caller: callers[i%4]}); err != nil {
				b.Fatal(err)
			}
		}
		for range 2 {
			if batch, err := q.Next(context.Background(), 0); err != nil || batch.Rows != 8 {
				b.Fatal(batch.Rows, err)
			}
		}
	}
}
