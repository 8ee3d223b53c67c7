// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Extent is how many bytes from Offset on a tensor's elements lie in, whatever its
// strides: NBytes for a contiguous one, less for one that repeats elements. It is 0
// for a tensor without elements. Strides are not negative.
func (t *Tensor) Extent() int64 {
	if t.Contiguous() {
		return t.NBytes
	}
	_, width := t.DType.Block()
	last := int64(0)
	for i, n := range t.Shape {
		last += (n - 1) * t.Strides[i]
	}
	return (last + 1) * width
}

// window is how many bytes Gather reads at once.
const window = 4 << 20

// Gather fills dst, NBytes long, with a tensor's elements in row-major order, from
// the file that holds them with strides. It reads in the file's order, a window at
// a time: what it needs besides dst is bounded. The tensor's bytes must lie within
// the file, which its loader has checked.
func Gather(ctx context.Context, dst []byte, file io.ReaderAt, t *Tensor) error {
	_, width := t.DType.Block()
	g := gathering{ctx: ctx, file: file, dst: dst, width: width, end: t.Offset + t.Extent()}
	var dims []dimension
	step := int64(1)
	for i := len(t.Shape) - 1; i >= 0; i-- {
		if t.Shape[i] == 0 {
			return nil
		}
		if t.Shape[i] > 1 {
			stride := step
			if t.Strides != nil {
				stride = t.Strides[i]
			}
			dims = append(dims, dimension{t.Shape[i], stride * width, step * width})
		}
		step *= t.Shape[i]
	}
	slices.SortStableFunc(dims, func(a, b dimension) int { return cmp.Compare(b.from, a.from) })
	return g.along(dims, t.Offset, 0)
}

// dimension is one of a tensor's, as bytes from one of its elements to the next.
type dimension struct{ n, from, to int64 }

type gathering struct {
	ctx   context.Context
	file  io.ReaderAt
	dst   []byte
	width int64
	end   int64 // of the tensor's bytes in the file
	at    int64 // of the window in the file
	buf   []byte
	room  []byte // what buf is a part of
}

// along copies what lies along the dimensions, the largest steps of the file first.
func (g *gathering) along(dims []dimension, from, to int64) error {
	switch {
	case len(dims) == 0:
		return g.copy(from, to, g.width)
	case len(dims) == 1 && dims[0].from == g.width && dims[0].to == g.width:
		return g.copy(from, to, dims[0].n*g.width)
	}
	for i := int64(0); i < dims[0].n; i++ {
		if err := g.along(dims[1:], from+i*dims[0].from, to+i*dims[0].to); err != nil {
			return err
		}
	}
	return nil
}

func (g *gathering) copy(from, to, n int64) error {
	for n > 0 {
		if from < g.at || from+min(n, g.width) > g.at+int64(len(g.buf)) {
			if err := g.read(from); err != nil {
				return err
			}
		}
		m := int64(copy(g.dst[to:to+n], g.buf[from-g.at:]))
		from, to, n = from+m, to+m, n-m
	}
	return nil
}

// read moves the window.
func (g *gathering) read(at int64) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	if g.room == nil {
		g.room = make([]byte, min(window, g.end-at))
	}
	want := g.room[:min(int64(len(g.room)), g.end-at)]
	n, err := g.file.ReadAt(want, at)
	if n < len(want) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read %d bytes at %d: %w", len(want), at, err)
	}
	g.at, g.buf = at, want
	return nil
}
