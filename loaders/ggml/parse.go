// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"io"
	"slices"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
	"github.com/modelfs/modelfs/loaders/internal/ggmltype"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

const format = "GGML"

// Limits of the tensors. Four dimensions are ggml's own; whisper-large has 1,259
// tensors.
const (
	maxTensors = 1 << 18
	maxName    = 1 << 10
	maxDims    = 4
)

// recordSize is how much is read at each tensor: its header, as a rule.
const recordSize = 512

// Parse lists the tensors of a file of size bytes, in its order. They lie one after
// the other, with their headers between them: those are read, the data are not.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	start := cursor.New(format, r, size)
	start.ReadAhead(beginSize)
	m, err := start.U32()
	if err != nil {
		return nil, err
	}
	if err := checkMagic(m); err != nil {
		return nil, err
	}
	rest, err := start.Bytes(beginSize-4, beginSize)
	if err != nil {
		return nil, err
	}
	p := &parser{Cursor: cursor.New(format, r, size), name: name, names: map[string]struct{}{}}
	if err := p.Skip(4); err != nil {
		return nil, err
	}
	if err := p.layout(append(make([]byte, 4), rest...)); err != nil {
		return nil, err
	}
	p.ReadAhead(recordSize)
	ix := &tensors.Index{}
	for p.Left() > 0 {
		t, err := p.tensor()
		if err != nil {
			return nil, err
		}
		if ix.Tensors = append(ix.Tensors, t); len(ix.Tensors) > maxTensors {
			return nil, p.Errorf("more than %d tensors", maxTensors)
		}
	}
	return ix, nil
}

// parser is one reading of a file.
type parser struct {
	*cursor.Cursor
	name         string // of the file
	quantisation uint32 // the version of blocks
	names        map[string]struct{}
}

// fileType reads the type that most tensors have, with the version of the
// quantisation times 1000. Each tensor has its own type besides.
func (p *parser) fileType() error {
	v, err := p.count("the file's type", 0)
	if err != nil {
		return err
	}
	// As enum ggml_ftype; 5 and 6 were removed.
	if kind := v % 1000; kind > 28 || kind == 5 || kind == 6 {
		return malformed.At(format, p.Pos()-4, "the file is of the unknown type %d", v)
	}
	p.quantisation = v / 1000
	return nil
}

// tensor reads a tensor's header and passes over its data.
func (p *parser) tensor() (t tensors.Tensor, err error) {
	at := p.Pos()
	fail := func(msg string, args ...any) (tensors.Tensor, error) {
		return t, malformed.At(format, at, msg, args...)
	}
	var dims, length, number uint32
	for _, v := range []*uint32{&dims, &length, &number} {
		if *v, err = p.U32(); err != nil {
			return t, err
		}
	}
	if dims > maxDims {
		return fail("a tensor with %d dimensions, over the limit of %d", dims, maxDims)
	}
	t.Shape = make([]int64, dims)
	for i := range t.Shape {
		n, err := p.count("a dimension", 0)
		if err != nil {
			return t, err
		}
		t.Shape[i] = int64(n)
	}
	slices.Reverse(t.Shape)
	text, err := p.Bytes(uint64(length), maxName)
	if err != nil {
		return t, err
	}
	t.Name, t.File, t.Offset = string(text), p.name, p.Pos()
	if _, twice := p.names[t.Name]; twice {
		return fail("the tensor %.100q is there twice", t.Name)
	}
	p.names[t.Name] = struct{}{}
	d, ok := ggmltype.Of(number)
	if !ok {
		return fail("the tensor %.100q is of the unknown type %d", t.Name, number)
	}
	if !p.blocks(d) {
		return fail("the tensor %.100q has %s blocks of version %d of the quantisation, which is not read: quantise the model again", t.Name, d, p.quantisation)
	}
	t.DType = d
	if t.NBytes, err = d.NBytes(t.Shape); err != nil {
		return fail("the tensor %.100q: %v", t.Name, err)
	}
	if t.NBytes > p.Left() {
		return fail("the tensor %.100q of %d bytes begins at byte %d, %d bytes are left", t.Name, t.NBytes, t.Offset, p.Left())
	}
	return t, p.Skip(uint64(t.NBytes))
}

// blocks says whether a type's blocks are as today's. Version 1 of the quantisation
// put the bits of Q4 and Q5 in another order, 2 made the scales of Q4_0, Q4_1 and
// Q8_0 half as wide (llama.cpp's pull requests 1405 and 1508); what came later came
// with 2.
func (p *parser) blocks(d tensors.DType) bool {
	switch {
	case d < tensors.Q4_0:
		return true
	case p.quantisation == 1:
		return d == tensors.Q5_0 || d == tensors.Q5_1
	}
	return p.quantisation == 2
}
