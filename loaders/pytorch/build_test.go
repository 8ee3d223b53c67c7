// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"context"
	"io"
	"math/big"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "folder/model.pt"

var parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
	return Parse(fileName, r, size)
}

// check holds for whatever is taken: distinct names, and every element lies in the
// file, counted with numbers of any size. Small tensors are made.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	names := make(map[string]bool)
	for i := range ix.Tensors {
		t := &ix.Tensors[i]
		if names[t.Name] || t.File != fileName || len(t.Shape) > maxDims {
			tb.Errorf("%q of %q is there twice, or in another file", t.Name, t.File)
		}
		names[t.Name] = true
		if n, err := t.DType.NBytes(t.Shape); err != nil || n != t.NBytes {
			tb.Errorf("%+v, want %d bytes (%v)", t, n, err)
		}
		lie := t
		if m, ok := t.Maker.(*maker); ok {
			if t.Strides != nil || t.Offset != 0 {
				tb.Errorf("%+v has a maker, strides and an offset", t)
			}
			lie = &m.lie
		}
		if end := lastByte(lie); lie.Offset < 4 || end.Cmp(big.NewInt(size)) > 0 {
			tb.Errorf("%+v ends at byte %v of %d", lie, end, size)
		}
	}
	for _, f := range ix.Findings {
		if f.File != fileName || f.Offset < 0 || f.Offset > size || f.Text == "" || len(f.Text) > 1000 {
			tb.Errorf("%+v", f)
		}
	}
}

// lastByte is where the last element ends, wherever strides lead.
func lastByte(t *tensors.Tensor) *big.Int {
	_, width := t.DType.Block()
	end := big.NewInt(1)
	for i, n := range t.Shape {
		if n == 0 {
			return big.NewInt(t.Offset)
		}
		step := t.StridesOrDefault()[i]
		if step < 0 {
			return big.NewInt(1 << 62)
		}
		end.Add(end, new(big.Int).Mul(big.NewInt(n-1), big.NewInt(step)))
	}
	return end.Mul(end, big.NewInt(width)).Add(end, big.NewInt(t.Offset))
}

var _ = bytes.NewReader
var _ = context.Background
