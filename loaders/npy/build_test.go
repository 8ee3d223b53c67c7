// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "folder/array.npy"

var parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
	return Parse(fileName, r, size)
}

// framed is a header's text after magic, version and length; nothing is padded.
func framed(version byte, text string) []byte {
	b := []byte("\x93NUMPY")
	b = append(b, version, 0)
	if version == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	}
	return append(b, text...)
}

// dict is a header's text as NumPy writes it.
func dict(descr, order, shape string) string {
	return fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, order, shape)
}

// check holds for whatever is taken: the array lies in the file, and is as large
// as its shape says, in either order.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	if len(ix.Tensors) != 1 {
		tb.Fatalf("%d tensors", len(ix.Tensors))
	}
	t := ix.Tensors[0]
	elements, bytes := t.DType.Block()
	want := big.NewInt(bytes)
	for _, n := range t.Shape {
		want.Mul(want, big.NewInt(n))
	}
	if elements != 1 || want.Cmp(big.NewInt(t.NBytes)) != 0 {
		tb.Errorf("%s%v in %d bytes", t.DType, t.Shape, t.NBytes)
	}
	if t.Maker != nil {
		if t.Offset != 0 || t.Strides != nil || t.NBytes > size {
			tb.Errorf("made of %d bytes: %+v", size, t)
		}
	} else if t.Offset < 10 || t.NBytes < 0 || t.NBytes > size-t.Offset {
		tb.Errorf("%d bytes at %d of %d", t.NBytes, t.Offset, size)
	}
	if t.Strides != nil {
		step := int64(1)
		for i, n := range t.Shape {
			if t.Strides[i] != step {
				tb.Errorf("%v has the strides %v", t.Shape, t.Strides)
			}
			step *= n
		}
	}
	if t.Name != "array" || t.File != fileName || len(t.Shape) > maxDims {
		tb.Errorf("%+v", t)
	}
}
