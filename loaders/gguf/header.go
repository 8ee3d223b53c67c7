// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"bytes"
	"io"
	"math/bits"
	"slices"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
	"github.com/modelfs/modelfs/loaders/internal/ggmltype"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

const format = "GGUF"

// Limits of a header, in bytes. A tensor's name and the number of dimensions are
// ggml's own.
const (
	maxHeader    = 512 << 20
	maxString    = 64 << 20
	maxKey       = 64 << 10
	maxName      = 63
	maxDims      = 4
	maxAlignment = 1 << 20
)

// What a key and a tensor take at the least, in bytes: a count above that is
// false.
const (
	minKey    = 8 + 4 + 1
	minTensor = 8 + 4 + 4 + 8
)

// Parse reads the header of a file of size bytes. The tensors are in the order of
// the file.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	p := &parser{Cursor: cursor.New(format, r, min(size, maxHeader)), name: name, size: size, alignment: 32}
	if err := p.start(); err != nil {
		return nil, err
	}
	nTensors, nKeys, err := p.counts()
	if err != nil {
		return nil, err
	}
	keys := make(map[string]struct{})
	for range nKeys {
		if err := p.key(keys); err != nil {
			return nil, err
		}
	}
	if err := p.tensors(nTensors); err != nil {
		return nil, err
	}
	return p.index()
}

// parser is one reading of a header.
type parser struct {
	*cursor.Cursor
	name      string // of the file
	size      int64
	alignment int64

	found []tensors.Tensor
	at    []int64 // where each tensor is named
}

// start reads magic and version. Version 3 allows big-endian files, and differs in
// nothing else from 2.
func (p *parser) start() error {
	magic, err := p.Bytes(4, 4)
	if err != nil {
		return err
	}
	if !bytes.Equal(magic, []byte("GGUF")) {
		return malformed.At(format, 0, "it begins with %q instead of GGUF", magic)
	}
	v, err := p.U32()
	switch {
	case err != nil:
		return err
	case v == 2, v == 3:
		return nil
	case bits.ReverseBytes32(v) == 2, bits.ReverseBytes32(v) == 3:
		return malformed.At(format, 4, "it is big-endian, which is not read")
	}
	return malformed.At(format, 4, "version %d; 2 and 3 are read", v)
}

func (p *parser) counts() (tensors, keys uint64, err error) {
	if tensors, err = p.U64(); err != nil {
		return 0, 0, err
	}
	if keys, err = p.U64(); err != nil {
		return 0, 0, err
	}
	left := uint64(p.Left())
	if tensors > left/minTensor {
		return 0, 0, malformed.At(format, 8, "%d tensors do not fit into the %d bytes that are left", tensors, left)
	}
	if keys > left/minKey {
		return 0, 0, malformed.At(format, 16, "%d keys do not fit into the %d bytes that are left", keys, left)
	}
	return tensors, keys, nil
}

// text reads a string: a length and bytes.
func (p *parser) text(limit uint64) (string, error) {
	n, err := p.U64()
	if err != nil {
		return "", err
	}
	b, err := p.Bytes(n, limit)
	return string(b), err
}

// ggml's numbers of the types of values.
const (
	typeU8 = iota
	typeI8
	typeU16
	typeI16
	typeU32
	typeI32
	typeF32
	typeBool
	typeString
	typeArray
	typeU64
	typeI64
	typeF64
)

// widths are the bytes of a value of each type with a fixed width.
var widths = [...]uint64{
	typeU8: 1, typeI8: 1, typeU16: 2, typeI16: 2, typeU32: 4, typeI32: 4, typeF32: 4, typeBool: 1,
	typeU64: 8, typeI64: 8, typeF64: 8,
}

func width(t uint32) uint64 {
	if t < uint32(len(widths)) {
		return widths[t]
	}
	return 0
}

// key passes over a key and its value.
func (p *parser) key(seen map[string]struct{}) error {
	at := p.Pos()
	name, err := p.text(maxKey)
	if err != nil {
		return err
	}
	if _, twice := seen[name]; twice {
		return malformed.At(format, at, "the key %.100q is there twice", name)
	}
	seen[name] = struct{}{}
	typeAt := p.Pos()
	t, err := p.U32()
	if err != nil {
		return err
	}
	if name == "general.alignment" {
		return p.align(t, typeAt)
	}
	switch {
	case width(t) > 0:
		return p.Skip(width(t))
	case t == typeString:
		return p.skipString()
	case t == typeArray:
		return p.skipArray()
	}
	return malformed.At(format, typeAt, "the key %.100q has a value of the unknown type %d", name, t)
}

func (p *parser) align(t uint32, typeAt int64) error {
	if t != typeU32 {
		return malformed.At(format, typeAt, "general.alignment is of type %d instead of %d (u32)", t, typeU32)
	}
	at := p.Pos()
	v, err := p.U32()
	if err != nil {
		return err
	}
	if v == 0 || v > maxAlignment || v&(v-1) != 0 {
		return malformed.At(format, at, "general.alignment is %d: no power of two up to %d", v, maxAlignment)
	}
	p.alignment = int64(v)
	return nil
}

func (p *parser) skipString() error {
	n, err := p.U64()
	if err != nil {
		return err
	}
	if n > maxString {
		return p.Errorf("a string of %d bytes, over the limit of %d", n, maxString)
	}
	return p.Skip(n)
}

func (p *parser) skipArray() error {
	at := p.Pos()
	t, err := p.U32()
	if err != nil {
		return err
	}
	n, err := p.U64()
	if err != nil {
		return err
	}
	switch w := width(t); {
	case w > 0:
		if n > uint64(p.Left())/w {
			return malformed.At(format, at, "an array of %d values does not fit into the %d bytes that are left", n, p.Left())
		}
		return p.Skip(n * w)
	case t == typeString:
		if n > uint64(p.Left())/8 {
			return malformed.At(format, at, "an array of %d strings does not fit into the %d bytes that are left", n, p.Left())
		}
		for range n {
			if err := p.skipString(); err != nil {
				return err
			}
		}
		return nil
	case t == typeArray:
		return malformed.At(format, at, "an array of arrays")
	}
	return malformed.At(format, at, "an array of the unknown type %d", t)
}

func (p *parser) tensors(n uint64) error {
	names := make(map[string]struct{})
	for range n {
		at := p.Pos()
		t, err := p.tensor()
		if err != nil {
			return err
		}
		if _, twice := names[t.Name]; twice {
			return malformed.At(format, at, "the tensor %q is there twice", t.Name)
		}
		names[t.Name] = struct{}{}
		p.found = append(p.found, t)
		p.at = append(p.at, at)
	}
	return nil
}

// tensor reads one entry; its Offset counts from the start of the data.
func (p *parser) tensor() (t tensors.Tensor, err error) {
	at := p.Pos()
	if t.Name, err = p.text(maxName); err != nil {
		return t, err
	}
	dims, err := p.U32()
	switch {
	case err != nil:
		return t, err
	case dims > maxDims:
		return t, malformed.At(format, at, "the tensor %q has %d dimensions, over the limit of %d", t.Name, dims, maxDims)
	}
	t.Shape = make([]int64, dims)
	for i := range t.Shape {
		n, err := p.U64()
		if err != nil {
			return t, err
		}
		if n > 1<<62 {
			return t, malformed.At(format, at, "the tensor %q has a dimension of %d", t.Name, int64(n))
		}
		t.Shape[i] = int64(n)
	}
	slices.Reverse(t.Shape)
	number, err := p.U32()
	if err != nil {
		return t, err
	}
	d, ok := ggmltype.Of(number)
	if !ok {
		return t, malformed.At(format, at, "the tensor %q is of the unknown type %d", t.Name, number)
	}
	t.DType, t.File = d, p.name
	if t.NBytes, err = d.NBytes(t.Shape); err != nil {
		return t, malformed.At(format, at, "the tensor %q: %v", t.Name, err)
	}
	offset, err := p.U64()
	if err == nil && offset > uint64(p.size) {
		err = malformed.At(format, at, "the tensor %q begins at byte %d of the data, the file has %d bytes", t.Name, offset, p.size)
	}
	t.Offset = int64(offset)
	return t, err
}

// padded is n with the padding after it.
func (p *parser) padded(n int64) int64 { return (n + p.alignment - 1) / p.alignment * p.alignment }

// index checks that every tensor begins where the padding of the one before it
// ends, and makes offsets count from the file's start. The padding after the last
// tensor may be missing.
func (p *parser) index() (*tensors.Index, error) {
	data := p.padded(p.Pos())
	next := int64(0)
	for i := range p.found {
		t := &p.found[i]
		if t.Offset != next {
			return nil, malformed.At(format, p.at[i], "the tensor %q begins at byte %d of the data, the ones before it end at %d", t.Name, t.Offset, next)
		}
		end := p.size - data
		if i+1 < len(p.found) {
			end = p.found[i+1].Offset
		}
		p.widen(t, end)
		t.Offset += data
		if t.NBytes > p.size-t.Offset {
			return nil, malformed.At(format, p.at[i], "the tensor %q of %d bytes begins at byte %d, the file ends at %d", t.Name, t.NBytes, t.Offset, p.size)
		}
		next += p.padded(t.NBytes)
	}
	return &tensors.Index{Tensors: p.found}, nil
}

// widen lets Q8_1 have the blocks that the file has. ggml's have 36 bytes; those
// of its Python package have 40 (two numbers of 32 instead of 16 bits). Where the
// next tensor begins, or the file ends, tells which.
func (p *parser) widen(t *tensors.Tensor, end int64) {
	const ggml, python = 36, 40
	if t.DType != tensors.Q8_1 || t.NBytes == 0 {
		return
	}
	wide := t.NBytes / ggml * python
	if end-t.Offset == wide || end-t.Offset == p.padded(wide) {
		t.NBytes = wide
	}
}
