// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import (
	"fmt"

	"github.com/modelfs/modelfs/tensors"
)

// tensor reads the i-th tensor of a subgraph, and adds it if it is a constant.
func (p *parser) tensor(list vector, i int64, prefix string) error {
	t, err := p.element(list, i)
	if err != nil {
		return err
	}
	if err := p.take(t.at, t.size); err != nil {
		return err
	}
	at, n, err := p.data(t)
	if err != nil {
		return err
	}
	elsewhere, err := p.u32(t, tensorExternal)
	if err != nil || n == 0 && elsewhere == 0 {
		return err
	}
	name, err := p.text(t, tensorName)
	if err != nil {
		return err
	}
	if prefix != "" {
		if err := p.take(t.at, int64(len(prefix)+len(name))/8); err != nil {
			return err
		}
		name = prefix + name
	}
	if elsewhere != 0 {
		p.find(t.at, "the tensor %.100q is in another file, which is not read", name)
		return nil
	}
	d, err := p.dtype(t, name)
	if d == 0 || err != nil {
		return err
	}
	shape, err := p.shape(t)
	if err != nil {
		return err
	}
	return p.add(tensors.Tensor{Name: name, DType: d, Shape: shape, File: p.name, Offset: at}, n, t.at)
}

// find adds a finding.
func (p *parser) find(at int64, msg string, args ...any) {
	p.findings = append(p.findings, tensors.Finding{File: p.name, Offset: at, Text: fmt.Sprintf(msg, args...)})
}

// dtype is the type of a tensor; 0 with a finding, if it is not read.
func (p *parser) dtype(t table, name string) (tensors.DType, error) {
	sparse, err := p.field(t, tensorSparsity, 4)
	if err != nil {
		return 0, err
	}
	if sparse != 0 {
		p.find(t.at, "the tensor %.100q is sparse, which is not read", name)
		return 0, nil
	}
	number := int8(0)
	at, err := p.field(t, tensorType, 1)
	if err != nil {
		return 0, err
	}
	if at != 0 {
		b, err := p.Byte(at)
		if err != nil {
			return 0, err
		}
		number = int8(b)
	}
	d, ok := types[number]
	if !ok {
		p.find(t.at, "the tensor %.100q is of the type %d, which is not read", name, number)
	}
	return d, nil
}

// add adds a tensor that has n bytes, whose table is at a byte.
func (p *parser) add(t tensors.Tensor, n, at int64) error {
	elements, err := tensors.U8.NBytes(t.Shape)
	if err != nil {
		return p.Errorf(at, "the tensor %.100q: %v", t.Name, err)
	}
	if per, _ := t.DType.Block(); elements%per != 0 {
		p.find(at, "the tensor %.100q is %s%v, which is no whole number of bytes", t.Name, t.DType, t.Shape)
		return nil
	}
	if t.NBytes, err = t.DType.NBytes(t.Shape); err != nil {
		return p.Errorf(at, "the tensor %.100q: %v", t.Name, err)
	}
	if t.NBytes != n {
		return p.Errorf(at, "the tensor %.100q has %d bytes, %s%v needs %d", t.Name, n, t.DType, t.Shape, t.NBytes)
	}
	if !p.names.Take(t.Name) {
		p.later = append(p.later, len(p.found))
	}
	p.found = append(p.found, t)
	return nil
}

// data is where the bytes of a tensor are, and how many; 0 for one that is computed.
func (p *parser) data(t table) (at, n int64, err error) {
	index, err := p.u32(t, tensorBuffer)
	if err != nil {
		return 0, 0, err
	}
	if int64(index) >= p.buffers.n {
		return 0, 0, p.Errorf(t.at, "a tensor has the buffer %d of %d", index, p.buffers.n)
	}
	b, err := p.element(p.buffers, int64(index))
	if err != nil {
		return 0, 0, err
	}
	inside, err := p.vector(b, bufferData, 1)
	if err != nil {
		return 0, 0, err
	}
	offset, err := p.u64(b, bufferOffset)
	if err != nil {
		return 0, 0, err
	}
	size, err := p.u64(b, bufferSize)
	switch {
	case err != nil:
		return 0, 0, err
	case offset <= 1: // not set: writers reserve the place with a 1
		return inside.at, inside.n, nil
	case inside.n > 0:
		return 0, 0, p.Errorf(b.at, "the buffer %d has data in two places", index)
	case offset > uint64(p.Size()) || size > uint64(p.Size())-offset:
		return 0, 0, p.Errorf(b.at, "the buffer %d of %d bytes begins at byte %d, the file ends at %d", index, size, offset, p.Size())
	}
	return int64(offset), int64(size), nil
}
