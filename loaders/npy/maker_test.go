// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// forward is a reader that gives every byte once.
type forward struct {
	b  []byte
	at int64
}

func (f *forward) ReadAt(p []byte, off int64) (int, error) {
	if off < f.at {
		return 0, errors.New("a read before the one before")
	}
	if off+int64(len(p)) > int64(len(f.b)) {
		return 0, io.ErrUnexpectedEOF
	}
	f.at = off + int64(len(p))
	return copy(p, f.b[off:]), nil
}

// TestFill fills from bytes that count up: every number's place and bytes are known.
func TestFill(t *testing.T) {
	for name, c := range map[string]struct {
		h    Header
		want []byte
	}{
		"in place":       {Header{DType: tensors.U16, Shape: []int64{2, 2}}, []byte{0, 1, 2, 3, 4, 5, 6, 7}},
		"columns":        {Header{DType: tensors.U16, Shape: []int64{2, 2}, Columns: true}, []byte{0, 1, 4, 5, 2, 3, 6, 7}},
		"big-endian":     {Header{DType: tensors.U16, Shape: []int64{2, 2}, Swapped: true}, []byte{1, 0, 3, 2, 5, 4, 7, 6}},
		"both":           {Header{DType: tensors.U16, Shape: []int64{2, 2}, Columns: true, Swapped: true}, []byte{1, 0, 5, 4, 3, 2, 7, 6}},
		"three by two":   {Header{DType: tensors.U8, Shape: []int64{3, 2}, Columns: true}, []byte{0, 3, 1, 4, 2, 5}},
		"three by three": {Header{DType: tensors.U8, Shape: []int64{2, 2, 2}, Columns: true}, []byte{0, 4, 2, 6, 1, 5, 3, 7}},
		"32 bits":        {Header{DType: tensors.F32, Shape: []int64{2}, Swapped: true}, []byte{3, 2, 1, 0, 7, 6, 5, 4}},
		"64 bits":        {Header{DType: tensors.F64, Shape: []int64{1}, Swapped: true}, []byte{7, 6, 5, 4, 3, 2, 1, 0}},
		"complex":        {Header{DType: tensors.C64, Shape: []int64{1}, Swapped: true}, []byte{3, 2, 1, 0, 7, 6, 5, 4}},
		"complex of 128": {Header{DType: tensors.C128, Shape: nil, Swapped: true}, []byte{7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8}},
		"empty":          {Header{DType: tensors.F64, Shape: []int64{0}, Swapped: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			file := []byte("head")
			for i := range c.want {
				file = append(file, byte(i))
			}
			c.h.Data, c.h.NBytes = 4, int64(len(c.want))
			got := make([]byte, len(c.want))
			if err := c.h.Fill(context.Background(), got, &forward{b: file}); err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("%d, %v, want %d", got, err, c.want)
			}
			if len(c.want) == 0 {
				return
			}
			if err := c.h.Fill(context.Background(), got, bytes.NewReader(file[:len(file)-1])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a byte is missing: %v", err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := c.h.Fill(ctx, got, bytes.NewReader(file)); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
}

// TestFillLarge has several windows and chunks, each byte read once.
func TestFillLarge(t *testing.T) {
	const rows, columns = 1500, 1100
	file := make([]byte, 10+8*rows*columns)
	for i := range file {
		file[i] = byte(i*7 + i>>8)
	}
	for _, swapped := range []bool{false, true} {
		h := Header{DType: tensors.F64, Shape: []int64{rows, columns}, Columns: true, Swapped: swapped, Data: 10, NBytes: 8 * rows * columns}
		got := make([]byte, h.NBytes)
		if err := h.Fill(context.Background(), got, &forward{b: file}); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			for j := range columns {
				want := slices.Clone(file[10+8*(j*rows+i):][:8])
				if swapped {
					slices.Reverse(want)
				}
				if !bytes.Equal(got[8*(i*columns+j):][:8], want) {
					t.Fatalf("row %d, column %d, swapped %v", i, j, swapped)
				}
			}
		}
	}
}

// TestMaker: the tensor of a file is made from that file.
func TestMaker(t *testing.T) {
	file := append(framed(1, dict(">u2", "True", "(2, 2)")), 0, 1, 2, 3, 4, 5, 6, 7)
	ix, err := parse(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if err := ix.Tensors[0].Maker.Make(context.Background(), bytes.NewReader(file), got); err != nil || !bytes.Equal(got, []byte{1, 0, 5, 4, 3, 2, 7, 6}) {
		t.Errorf("%d, %v", got, err)
	}
}
