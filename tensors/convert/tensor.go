// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/modelfs/modelfs/tensors"
)

// Sizes of what is read at once: a piece of a tensor that lies in one piece, for each
// goroutine, and of one with strides.
const (
	piece = 256 << 10
	slab  = 32 << 20
)

// Tensor returns the tensor whose elements are t's, converted: it has the same name,
// shape and file, and a Maker that reads t from there. A tensor that has the type
// already is returned as it is. The error is ErrUnsupported, or tensors.ErrShape
// where the result would be over 63 bits of bytes.
//
// The Maker needs little memory besides what it fills: 512 KiB for a contiguous
// tensor, 36 MiB for one with strides; but for a t that has a Maker itself, it needs
// all t.NBytes.
func Tensor(t *tensors.Tensor, to tensors.DType) (tensors.Tensor, error) {
	if t.DType == to {
		return *t, nil
	}
	if _, ok := From(t.DType, to); !ok {
		return tensors.Tensor{}, fmt.Errorf("%.100q: %s to %s: %w", t.Name, t.DType, to, ErrUnsupported)
	}
	n, err := to.NBytes(t.Shape)
	if err != nil {
		return tensors.Tensor{}, fmt.Errorf("%.100q as %s: %w", t.Name, to, err)
	}
	made := *t
	made.DType, made.NBytes = to, n
	made.Strides, made.Offset, made.Maker = nil, 0, &maker{from: *t, to: to}
	return made, nil
}

// Precision returns a tensor of a model as it is where the model has the precision to,
// as torch's Module.to does it: floating-point numbers, and blocks that stand for some,
// are converted; everything else, and blocks that nothing converts, stays t.
func Precision(t *tensors.Tensor, to tensors.DType) *tensors.Tensor {
	if !t.DType.IsFloat() || t.DType == to {
		return t
	}
	made, err := Tensor(t, to)
	if err != nil {
		return t
	}
	return &made
}

// maker makes a converted tensor.
type maker struct {
	from tensors.Tensor
	to   tensors.DType
}

// Make implements tensors.Maker.
func (m *maker) Make(ctx context.Context, file io.ReaderAt, dst []byte) error {
	t := &m.from
	if t.Maker == nil && t.Contiguous() {
		return Read(ctx, dst, m.to, file, t.Offset, t.DType, t.NBytes)
	}
	f, _ := From(t.DType, m.to)
	if t.Maker == nil {
		s := strided{ctx: ctx, file: file, f: f, room: slab}
		_, s.in = t.DType.Block()
		_, s.out = m.to.Block()
		return s.convert(dst, t)
	}
	buf := make([]byte, t.NBytes)
	if err := t.Maker.Make(ctx, file, buf); err != nil {
		return err
	}
	return inPieces(ctx, dst, m.to, t.DType, t.NBytes, func(int64) source {
		return func(off, n int64) ([]byte, error) { return buf[off : off+n], nil }
	})
}

// Read fills dst with the converted elements that n bytes of a file are, from offset
// on. It reads them in pieces, two at a time where that is of use, and needs 512 KiB
// of memory. dst must be as long as they become, as for a Func. The error is one of
// reading, ctx's, or ErrUnsupported.
func Read(ctx context.Context, dst []byte, to tensors.DType, file io.ReaderAt, offset int64, from tensors.DType, n int64) error {
	return inPieces(ctx, dst, to, from, n, func(size int64) source {
		buf := make([]byte, size)
		return func(off, n int64) ([]byte, error) {
			return buf[:n], readFull(file, buf[:n], offset+off)
		}
	})
}

// source returns bytes of a tensor, valid until it is called again.
type source func(off, n int64) ([]byte, error)

// inPieces converts n bytes. Each goroutine has a source of its own, which is asked
// for so many bytes at the most.
func inPieces(ctx context.Context, dst []byte, to, from tensors.DType, n int64, open func(int64) source) error {
	f, ok := From(from, to)
	if !ok {
		return fmt.Errorf("%s to %s: %w", from, to, ErrUnsupported)
	}
	elements, in := from.Block()
	_, out := to.Block()
	out *= elements
	if blocks := n / in; n != blocks*in || int64(len(dst)) != blocks*out {
		panic(fmt.Sprintf("convert: %d bytes of %s do not make %d of %s", n, from, len(dst), to))
	}
	step := max(1, piece/max(in, out)) // blocks
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	work := func() {
		src := open(min(n, step*in))
		for ctx.Err() == nil {
			first := (next.Add(1) - 1) * step
			m := min(step, n/in-first)
			if m <= 0 {
				return
			}
			b, err := src(first*in, m*in)
			if err != nil {
				cancel(err)
				return
			}
			f(dst[first*out:(first+m)*out], b)
		}
	}
	var second sync.WaitGroup
	if n/in > 2*step && runtime.GOMAXPROCS(0) > 1 {
		second.Go(work)
	}
	work()
	second.Wait()
	return context.Cause(ctx)
}

func readFull(file io.ReaderAt, b []byte, at int64) error {
	n, err := file.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), at, err)
}

// strided converts a tensor with strides: it gathers slabs, as many rows as fit.
type strided struct {
	ctx     context.Context
	file    io.ReaderAt
	f       Func
	in, out int64 // bytes of an element
	room    int64 // bytes of a slab
	buf     []byte
}

func (s *strided) convert(dst []byte, t *tensors.Tensor) error {
	if t.NBytes <= s.room || len(t.Shape) == 0 {
		if s.buf == nil {
			s.buf = make([]byte, min(t.NBytes, s.room))
		}
		b := s.buf[:t.NBytes]
		if err := tensors.Gather(s.ctx, b, s.file, t); err != nil {
			return err
		}
		s.f(dst, b)
		return nil
	}
	row := t.NBytes / t.Shape[0]
	rows := max(1, s.room/row)
	for i := int64(0); i < t.Shape[0]; i += rows {
		part := *t
		n := min(rows, t.Shape[0]-i)
		part.Offset += i * t.Strides[0] * s.in
		part.NBytes = n * row
		if rows > 1 {
			part.Shape = append([]int64{n}, t.Shape[1:]...)
		} else {
			part.Shape, part.Strides = t.Shape[1:], t.Strides[1:]
		}
		at := i * row / s.in * s.out
		if err := s.convert(dst[at:at+part.NBytes/s.in*s.out], &part); err != nil {
			return err
		}
	}
	return nil
}
