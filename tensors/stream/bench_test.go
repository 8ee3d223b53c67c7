// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/modelfs/modelfs/tensors"
)

// BenchmarkLatency: from Commit in this process to the frame in the hands of a reader
// in another one, who sleeps before it. Filling and reading are not in it, which is
// what the size is for: it should not matter.
func BenchmarkLatency(b *testing.B) {
	for _, size := range []int64{1e6, 10e6, 100e6} {
		b.Run(fmt.Sprintf("%dMB", size/1e6), func(b *testing.B) {
			path := streamPath(b)
			w := must(Create(path, tensors.U8, []int64{size}, 2))(b)
			c := startChild(b, os.Geteuid(), "ages", path)
			frame := make([]byte, size)
			for b.Loop() {
				to := must(w.Next())(b)
				copy(to, frame)
				time.Sleep(2 * time.Millisecond) // the reader sleeps by now
				if err := w.Commit(); err != nil {
					b.Fatal(err)
				}
				time.Sleep(2 * time.Millisecond) // and has it
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			var ages []time.Duration
			if err := json.NewDecoder(c.out).Decode(&ages); err != nil {
				b.Fatal(err)
			}
			slices.Sort(ages)
			for _, p := range []int{50, 90, 99} {
				b.ReportMetric(float64(ages[len(ages)*p/100].Nanoseconds())/1e3, fmt.Sprintf("µs-p%d", p))
			}
			b.ReportMetric(0, "ns/op") // mostly sleep
		})
	}
}

// ages reads until the end and says how old each frame was when it came.
func ages(r *Reader) error {
	var all []time.Duration
	for {
		f, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return json.NewEncoder(os.Stdout).Encode(all)
		}
		if err != nil {
			return err
		}
		_ = f.Bytes()
		all = append(all, f.Age())
	}
}

// BenchmarkPublish: what a small frame costs its producer, with nobody there and with a
// reader that sleeps.
func BenchmarkPublish(b *testing.B) {
	for _, readers := range []int{0, 1} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			path := streamPath(b)
			w := must(Create(path, tensors.U8, []int64{64}, 4))(b)
			for range readers {
				startChild(b, os.Geteuid(), "read", path)
			}
			frame := make([]byte, 64)
			for b.Loop() {
				if err := w.Publish(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
