// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"path"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "folder/model.onnx"

var parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
	return Parse(fileName, r, size)
}

// piece is a part of a message. mark is a byte of it to come back to; below 0: none.
type piece struct {
	b    []byte
	mark int
}

func bin(b ...byte) piece { return piece{b, -1} }

// here marks the next byte.
var here = piece{nil, 0}

func join(pieces ...piece) piece {
	out := bin()
	for _, p := range pieces {
		if p.mark >= 0 {
			out.mark = len(out.b) + p.mark
		}
		out.b = append(out.b, p.b...)
	}
	return out
}

func varint(v uint64) piece { return piece{binary.AppendUvarint(nil, v), -1} }

func tag(number uint64, wire byte) piece { return varint(number<<3 | uint64(wire)) }

// num is a field with a varint.
func num(number uint64, v int64) piece { return join(tag(number, wireVarint), varint(uint64(v))) }

// sub is a field with bytes: a message, or a list of packed numbers.
func sub(number uint64, pieces ...piece) piece {
	in := join(pieces...)
	return join(tag(number, wireBytes), varint(uint64(len(in.b))), in)
}

func str(number uint64, s string) piece { return sub(number, bin([]byte(s)...)) }

// f32 and f64 are the bytes of numbers.
func f32(v ...float32) piece {
	var b []byte
	for _, v := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return piece{b, -1}
}

func f64(v ...float64) piece {
	var b []byte
	for _, v := range v {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return piece{b, -1}
}

// packed is many varints.
func packed(v ...int64) piece {
	out := bin()
	for _, v := range v {
		out = join(out, varint(uint64(v)))
	}
	return out
}

// The fields of onnx.proto that tests need.
func dims(v ...int64) piece {
	out := bin()
	for _, v := range v {
		out = join(out, num(1, v))
	}
	return out
}
func typ(n int64) piece             { return num(2, n) }
func named(s string) piece          { return str(8, s) }
func raw(pieces ...piece) piece     { return sub(9, pieces...) }
func zeros(n int) piece             { return bin(make([]byte, n)...) }
func entry(k, v string) piece       { return sub(13, str(1, k), str(2, v)) }
func initial(pieces ...piece) piece { return sub(5, pieces...) }
func op(pieces ...piece) piece      { return sub(1, pieces...) }
func attr(name string, pieces ...piece) piece {
	return sub(5, append([]piece{str(1, name)}, pieces...)...)
}

// outside is what says that data are external; entries are added to it.
func outside(pieces ...piece) piece { return join(append(pieces, num(14, 1))...) }

// constant is a node with one attribute.
func constant(output, attribute string, pieces ...piece) piece {
	return op(str(2, output), str(4, "Constant"), attr(attribute, pieces...))
}

// model is a file whose graph holds the pieces.
func model(pieces ...piece) piece { return join(num(1, 8), sub(7, pieces...)) }

// simple is an initializer of two floats.
func simple(name string) piece { return initial(dims(2), typ(1), named(name), raw(zeros(8))) }

// check holds for whatever is taken: names are distinct, tensors are as large as
// their shapes say, and lie in the file or in one beside it.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	names := make(map[string]bool)
	for _, t := range ix.Tensors {
		if names[t.Name] {
			tb.Errorf("%q is there twice", t.Name)
		}
		names[t.Name] = true
		n, err := t.DType.NBytes(t.Shape)
		if err != nil || n != t.NBytes || t.Shape == nil || t.Strides != nil || len(t.Shape) > maxDims {
			tb.Errorf("%+v, want %d bytes, %v", t, n, err)
		}
		switch folder := path.Dir(t.File); {
		case t.Maker != nil && (t.File != fileName || t.Offset != 0):
			tb.Errorf("%+v has a maker", t)
		case t.Maker == nil && t.File == fileName && (t.Offset < 0 || n > size-t.Offset):
			tb.Errorf("%q: %d bytes at %d of %d", t.Name, n, t.Offset, size)
		case t.Offset < 0 || t.Offset > math.MaxInt64-n || folder != "folder" && !strings.HasPrefix(folder, "folder/"):
			tb.Errorf("%+v lies outside", t)
		}
	}
	for _, f := range ix.Findings {
		if f.File != fileName || f.Offset < 0 || f.Offset > size || f.Text == "" || len(f.Text) > 2000 {
			tb.Errorf("%+v", f)
		}
	}
}

// maken makes what has a maker, as far as it is not too large.
func maken(tb testing.TB, ix *tensors.Index, file io.ReaderAt) {
	tb.Helper()
	for _, t := range ix.Tensors {
		if t.Maker != nil && t.NBytes < 1<<20 {
			if err := t.Maker.Make(context.Background(), file, make([]byte, t.NBytes)); err != nil {
				tb.Errorf("%q: %v", t.Name, err)
			}
		}
	}
}
