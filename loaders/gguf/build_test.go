// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"encoding/binary"
	"io"
	"math/big"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "model.gguf"

var parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
	return Parse(fileName, r, size)
}

// writer puts a file together, number by number. mark is a byte to come back to.
type writer struct {
	b    []byte
	mark int64
}

// start writes what a file of version 3 begins with.
func start(tensors, keys uint64) *writer { return startOf(3, tensors, keys) }

func startOf(version uint32, tensors, keys uint64) *writer {
	w := &writer{b: []byte("GGUF")}
	return w.u32(version).u64(tensors).u64(keys)
}

func (w *writer) here() *writer {
	w.mark = int64(len(w.b))
	return w
}

func (w *writer) raw(b ...byte) *writer {
	w.b = append(w.b, b...)
	return w
}

func (w *writer) u32(v uint32) *writer {
	w.b = binary.LittleEndian.AppendUint32(w.b, v)
	return w
}

func (w *writer) u64(v uint64) *writer {
	w.b = binary.LittleEndian.AppendUint64(w.b, v)
	return w
}

func (w *writer) text(s string) *writer {
	w.u64(uint64(len(s)))
	return w.raw([]byte(s)...)
}

// key writes a key's name and the type of its value.
func (w *writer) key(name string, t uint32) *writer { return w.text(name).u32(t) }

// array writes the beginning of a key whose value is an array.
func (w *writer) array(name string, t uint32, n uint64) *writer {
	return w.key(name, typeArray).u32(t).u64(n)
}

// tensor writes an entry; dims are innermost first, as in the file.
func (w *writer) tensor(name string, number uint32, offset uint64, dims ...uint64) *writer {
	w.text(name).u32(uint32(len(dims)))
	for _, n := range dims {
		w.u64(n)
	}
	return w.u32(number).u64(offset)
}

// pad writes zeros up to a multiple of n.
func (w *writer) pad(n int) *writer {
	for len(w.b)%n != 0 {
		w.raw(0)
	}
	return w
}

// data pads to 32 bytes and writes n zeros.
func (w *writer) data(n int) *writer { return w.pad(32).raw(make([]byte, n)...) }

// check holds for whatever is taken: the tensors follow each other, aligned, lie in
// the file, have distinct names, and are as large as their shapes say.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	names := make(map[string]bool)
	end := int64(24)
	for i, t := range ix.Tensors {
		if names[t.Name] || len(t.Name) > maxName {
			tb.Errorf("%q is there twice, or too long", t.Name)
		}
		names[t.Name] = true
		elements, bytes := t.DType.Block()
		product := big.NewInt(1)
		for _, n := range t.Shape {
			product.Mul(product, big.NewInt(n))
		}
		has := new(big.Int).Mul(big.NewInt(t.NBytes), big.NewInt(elements))
		right := has.Cmp(new(big.Int).Mul(product, big.NewInt(bytes))) == 0
		if t.DType == tensors.Q8_1 {
			right = right || has.Cmp(new(big.Int).Mul(product, big.NewInt(40))) == 0
		}
		if !right || t.NBytes < 0 {
			tb.Errorf("%q: %s%v in %d bytes", t.Name, t.DType, t.Shape, t.NBytes)
		}
		if t.Offset < end || t.NBytes > size-t.Offset || i > 0 && t.Offset >= end+maxAlignment {
			tb.Errorf("%q: %d bytes at %d of %d, the ones before end at %d", t.Name, t.NBytes, t.Offset, size, end)
		}
		end = t.Offset + t.NBytes
		if t.File != fileName || t.Strides != nil || len(t.Shape) > maxDims {
			tb.Errorf("%+v", t)
		}
	}
}
