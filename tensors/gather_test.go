// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// numbers is n little-endian numbers, each its own place, behind some other bytes.
func numbers(n, skip int64) []byte {
	b := make([]byte, skip)
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
	}
	return b
}

// naive gathers one element after the other.
func naive(file []byte, t *Tensor) []byte {
	_, width := t.DType.Block()
	out := []byte{}
	at := make([]int64, len(t.Shape))
	for range t.NBytes / width {
		from := t.Offset
		for i, x := range at {
			from += x * t.Strides[i] * width
		}
		out = append(out, file[from:from+width]...)
		for i := len(at) - 1; i >= 0; i-- {
			if at[i]++; at[i] < t.Shape[i] {
				break
			}
			at[i] = 0
		}
	}
	return out
}

func TestGather(t *testing.T) {
	for name, c := range map[string]struct{ shape, strides []int64 }{
		"scalar":            {nil, nil},
		"contiguous":        {[]int64{3, 4}, []int64{4, 1}},
		"transposed":        {[]int64{4, 3}, []int64{1, 4}},
		"expanded":          {[]int64{5, 4}, []int64{0, 1}},
		"one number":        {[]int64{6, 7}, []int64{0, 0}},
		"every other":       {[]int64{3, 4}, []int64{20, 2}},
		"permuted":          {[]int64{2, 3, 4, 5}, []int64{1, 40, 2, 8}},
		"empty":             {[]int64{3, 0, 4}, []int64{9, 9, 9}},
		"dimensions of one": {[]int64{1, 3, 1}, []int64{77, 5, 99}},
		"overlapping":       {[]int64{5, 6}, []int64{2, 3}},
		"over windows":      {[]int64{3, window}, []int64{1, 3}},
		"rows over windows": {[]int64{2, window}, []int64{window, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			ts := Tensor{DType: U32, Shape: c.shape, Strides: c.strides, Offset: 3}
			var err error
			if ts.NBytes, err = U32.NBytes(c.shape); err != nil {
				t.Fatal(err)
			}
			file := numbers(ts.Extent()/4, ts.Offset)
			got := make([]byte, ts.NBytes)
			if err := Gather(context.Background(), got, bytes.NewReader(file), &ts); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, naive(file, &ts)) {
				t.Error("other elements than one by one")
			}
		})
	}
}

// TestGatherAgainstNaive takes permutations of random shapes.
func TestGatherAgainstNaive(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		ts := Tensor{DType: U32, Offset: r.Int64N(9)}
		stride := 1 + r.Int64N(3)
		for range r.IntN(6) {
			n := r.Int64N(5)
			ts.Shape, ts.Strides = append(ts.Shape, n), append(ts.Strides, stride)
			stride *= max(n, 1) + r.Int64N(2)
		}
		order := r.Perm(len(ts.Shape))
		shape, strides := slices.Clone(ts.Shape), slices.Clone(ts.Strides)
		for i, j := range order {
			ts.Shape[i], ts.Strides[i] = shape[j], strides[j]
		}
		ts.NBytes, _ = U32.NBytes(ts.Shape)
		file := numbers(ts.Extent()/4, ts.Offset)
		got := make([]byte, ts.NBytes)
		if err := Gather(context.Background(), got, bytes.NewReader(file), &ts); err != nil || !bytes.Equal(got, naive(file, &ts)) {
			t.Fatalf("seed %d: %v by %v: %v", seed, ts.Shape, ts.Strides, err)
		}
	}
}

func TestGatherFails(t *testing.T) {
	ts := Tensor{DType: U32, Shape: []int64{4, 4}, Strides: []int64{1, 4}, NBytes: 64}
	err := Gather(context.Background(), make([]byte, 64), bytes.NewReader(make([]byte, 63)), &ts)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is too short: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Gather(ctx, make([]byte, 64), bytes.NewReader(make([]byte, 64)), &ts); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
