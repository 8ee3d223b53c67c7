// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import "github.com/modelfs/modelfs/tensors"

// tensor is a TensorProto, as far as it matters here, or what stands for one.
type tensor struct {
	at       span
	name     span
	dims     []int64
	dataType int32
	segment  bool
	raw      span
	values   [fieldsOfNumbers]numbers
	zero     bool // without data it is 0
	external bool
	entries  []span // of external_data
}

// tensor reads a TensorProto. Its dimensions last until the next one is read.
func (p *parser) tensor(m span) (tensor, error) {
	t := tensor{at: m, dims: p.dims[:0]}
	var was seen
	err := p.each(m, func(f field) error {
		for i := range typedFields {
			if f.number == typedFields[i].number {
				return p.number(f, typedFields[i].wire, &t.values[i])
			}
		}
		switch f.number {
		case 1: // dims
			return p.dimensions(f, &t)
		case 2: // data_type
			if t.dataType = int32(f.n); uint64(t.dataType) != f.n {
				t.dataType = -1
			}
			return p.once(f, wireVarint, &was)
		case 3: // segment
			t.segment = true
			return p.once(f, wireBytes, &was)
		case 8: // name
			t.name = f.value
			return p.once(f, wireBytes, &was)
		case 9: // raw_data
			t.raw = f.value
			return p.once(f, wireBytes, &was)
		case 13: // external_data
			t.entries = append(t.entries, f.value)
			return p.is(f, wireBytes)
		case 14: // data_location
			if t.external = f.n == 1; f.n > 1 {
				return p.Errorf(f.at, "a tensor is in the unknown location %d", f.n)
			}
			return p.once(f, wireVarint, &was)
		}
		return nil
	})
	return t, err
}

// dimensions reads one dimension, or a packed list of some.
func (p *parser) dimensions(f field, t *tensor) error {
	add := func(v uint64) error {
		switch {
		case len(t.dims) >= maxDims:
			return p.Errorf(f.at, "a tensor has over %d dimensions", maxDims)
		case int64(v) < 0:
			return p.Errorf(f.at, "a tensor has a dimension of %d", int64(v))
		}
		t.dims = append(t.dims, int64(v))
		return nil
	}
	if f.wire == wireVarint {
		return add(f.n)
	}
	if err := p.is(f, wireBytes); err != nil {
		return err
	}
	for at := f.value.at; at < f.value.end; {
		v, after, err := p.varint(at, f.value.end)
		if err != nil {
			return err
		}
		if err := add(v); err != nil {
			return err
		}
		at = after
	}
	return nil
}

// add adds a tensor to the index, or a finding where it cannot be there.
func (p *parser) add(t *tensor, prefix, name string) error {
	at := t.at.at
	if prefix != "" {
		if p.paths += len(prefix) + len(name); p.paths > 64<<10+32*p.fields {
			return p.Errorf(at, "the paths of nested tensors have %d bytes: that is more than the model explains", p.paths)
		}
		name = prefix + name
	}
	kind, known := typeOf(t.dataType)
	switch {
	case t.dataType == typeString:
		p.find(at, "the tensor %.100q holds text, which is not read", name)
		return nil
	case !known:
		p.find(at, "the tensor %.100q is of the type %d, which is not read", name, t.dataType)
		return nil
	case t.segment:
		p.find(at, "the tensor %.100q is one segment of a tensor, which is not read", name)
		return nil
	case len(p.found) >= maxTensors:
		return p.Errorf(at, "over %d tensors", maxTensors)
	}
	elements, err := tensors.U8.NBytes(t.dims)
	if err != nil {
		return p.Errorf(at, "the tensor %.100q: %v", name, err)
	}
	if per, _ := kind.dtype.Block(); elements%per != 0 {
		p.find(at, "the tensor %.100q is %s%v, which is no whole number of bytes", name, kind.dtype, t.dims)
		return nil
	}
	n, err := kind.dtype.NBytes(t.dims)
	if err != nil {
		return p.Errorf(at, "the tensor %.100q: %v", name, err)
	}
	out := tensors.Tensor{Name: name, DType: kind.dtype, Shape: p.shape(t.dims), NBytes: n, File: p.name}
	if listed, err := p.place(&out, t, kind); err != nil || !listed {
		return err
	}
	if prefix != "" {
		p.deeper = append(p.deeper, len(p.found))
	}
	p.found = append(p.found, out)
	return nil
}

// shape is a copy of dimensions, cut from a slab: an allocation for each tensor would
// be a part of the time that a model takes.
func (p *parser) shape(dims []int64) []int64 {
	const slab = 1024
	if p.slab == nil || len(p.slab)+len(dims) > cap(p.slab) {
		p.slab = make([]int64, 0, slab)
	}
	at := len(p.slab)
	p.slab = append(p.slab, dims...)
	return p.slab[at:len(p.slab):len(p.slab)]
}

// place says where a tensor's bytes are, which must be in one place.
func (p *parser) place(out *tensors.Tensor, t *tensor, kind dataType) (listed bool, err error) {
	forms := 0
	raw := t.raw.there() && (t.raw.size() > 0 || !t.external)
	for _, is := range []bool{t.external, raw} {
		if is {
			forms++
		}
	}
	typed := -1
	for i := range t.values {
		if t.values[i].pieces > 0 {
			typed = i
			forms++
		}
	}
	at := t.at.at
	switch {
	case forms > 1:
		return false, p.Errorf(at, "the tensor %.100q has data in %d forms", out.Name, forms)
	case !t.external && len(t.entries) > 0:
		return false, p.Errorf(at, "the tensor %.100q says where external data are, and that it has none", out.Name)
	case t.external:
		return true, p.external(out, t)
	case raw:
		if out.Offset = t.raw.at; t.raw.size() != out.NBytes {
			return false, p.Errorf(out.Offset, "the tensor %.100q has %d bytes, %s%v needs %d", out.Name, t.raw.size(), out.DType, out.Shape, out.NBytes)
		}
		return true, nil
	case typed >= 0 && typed != kind.typed:
		return false, p.Errorf(at, "the tensor %.100q of %s has its data in %s", out.Name, out.DType, typedFields[typed].name)
	case typed >= 0 && kind.width == 0:
		p.find(at, "the tensor %.100q has its %s in %s, which is not read", out.Name, out.DType, typedFields[typed].name)
		return false, nil
	case typed >= 0:
		return true, p.typed(out, t, kind)
	case out.NBytes > 0 && t.zero:
		out.Maker = zero{}
		return true, nil
	case out.NBytes > 0:
		return false, p.Errorf(at, "the tensor %.100q has no data, %s%v needs %d bytes", out.Name, out.DType, out.Shape, out.NBytes)
	}
	return true, nil
}

// sparse reads a SparseTensorProto as far as its name, which is that of its values.
func (p *parser) sparse(m span, prefix string) error {
	var (
		was  seen
		name span
	)
	err := p.each(m, func(f field) error {
		if f.number != 1 { // values
			return nil
		}
		if err := p.once(f, wireBytes, &was); err != nil {
			return err
		}
		t, err := p.tensor(f.value)
		name = t.name
		return err
	})
	if err != nil {
		return err
	}
	text, err := p.text(name, maxName)
	if err != nil {
		return err
	}
	if len(prefix) > 100 {
		prefix = prefix[:100]
	}
	p.find(m.at, "the tensor %.200q is sparse, which is not read", prefix+text)
	return nil
}
