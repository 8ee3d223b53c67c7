// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import "strconv"

// attribute is an AttributeProto, as far as it can hold tensors.
type attribute struct {
	at              span
	name            span
	reference       bool // a function's attribute stands for it
	kind            uint64
	kinds           uint64 // of what is there, by bits
	f, i, t, g      span
	sparse          []span
	tensors, graphs []span
	floats, ints    numbers
}

// attribute reads an AttributeProto of a node and adds the tensors in it.
func (p *parser) attribute(m span, n *node, s scope) error {
	a := attribute{at: m}
	var was seen
	err := p.each(m, func(f field) error { return p.attributeField(&a, f, &was) })
	if err != nil {
		return err
	}
	if a.kind != 0 && a.kinds&^(1<<a.kind) != 0 {
		return p.Errorf(m.at, "an attribute of the type %d holds something else", a.kind)
	}
	if n.constant && !a.reference {
		if done, err := p.constant(&a, n, s); done || err != nil {
			return err
		}
	}
	if !a.t.there() && !a.g.there() && a.tensors == nil && a.graphs == nil && a.sparse == nil {
		return nil
	}
	prefix, err := p.inside(n, s)
	if err != nil {
		return err
	}
	name, err := p.text(a.name, maxName)
	if err != nil {
		return err
	}
	return p.parameters(&a, prefix, name, s.depth+1)
}

// attributeTypes are onnx.proto's AttributeProto.AttributeType of each field.
var attributeTypes = [24]uint64{2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7, 9: 8, 10: 9, 11: 10, 14: 13, 15: 14, 22: 11, 23: 12}

func (p *parser) attributeField(a *attribute, f field, was *seen) error {
	if f.number < uint64(len(attributeTypes)) && attributeTypes[f.number] > 0 {
		a.kinds |= 1 << attributeTypes[f.number]
	}
	switch f.number {
	case 1: // name
		a.name = f.value
		return p.once(f, wireBytes, was)
	case 2: // f
		a.f = f.value
		return p.once(f, wireI32, was)
	case 3: // i
		a.i = f.value
		return p.once(f, wireVarint, was)
	case 4: // s
		return p.once(f, wireBytes, was)
	case 5: // t
		a.t = f.value
		return p.once(f, wireBytes, was)
	case 6: // g
		a.g = f.value
		return p.once(f, wireBytes, was)
	case 7: // floats
		return p.number(f, wireI32, &a.floats)
	case 8: // ints
		return p.number(f, wireVarint, &a.ints)
	case 9: // strings
		return p.is(f, wireBytes)
	case 10: // tensors
		a.tensors = append(a.tensors, f.value)
		return p.is(f, wireBytes)
	case 11: // graphs
		a.graphs = append(a.graphs, f.value)
		return p.is(f, wireBytes)
	case 20: // type
		a.kind = f.n
		return p.once(f, wireVarint, was)
	case 21: // ref_attr_name
		a.reference = true
		return p.once(f, wireBytes, was)
	case 22: // sparse_tensor
		a.sparse = append(a.sparse, f.value)
		return p.once(f, wireBytes, was)
	case 23: // sparse_tensors
		a.sparse = append(a.sparse, f.value)
		return p.is(f, wireBytes)
	}
	return nil
}

// parameters adds what an attribute holds, of a node that is no constant.
func (p *parser) parameters(a *attribute, prefix, name string, depth int) error {
	add := func(m span, name string) error {
		t, err := p.tensor(m)
		if err != nil {
			return err
		}
		return p.add(&t, prefix, name)
	}
	if a.t.there() {
		if err := add(a.t, name); err != nil {
			return err
		}
	}
	for i, m := range a.tensors {
		if err := add(m, name+"/"+strconv.Itoa(i)); err != nil {
			return err
		}
	}
	for _, m := range a.sparse {
		if err := p.sparse(m, prefix+name+"/"); err != nil {
			return err
		}
	}
	if a.g.there() {
		if err := p.graph(a.g, inner(prefix+name+"/", depth)); err != nil {
			return err
		}
	}
	for i, m := range a.graphs {
		if err := p.graph(m, inner(prefix+name+"/"+strconv.Itoa(i)+"/", depth)); err != nil {
			return err
		}
	}
	return nil
}

// constantTypes are the types of a Constant's attributes, sparse_value not among
// them.
var constantTypes = map[string]uint64{
	"value": 4, "value_float": 1, "value_floats": 6, "value_int": 2, "value_ints": 7, "value_string": 3, "value_strings": 8,
}

// constant adds what a Constant node stands for, if the attribute is the one that
// says so. A number that is 0 may be left out, as proto3 does it.
func (p *parser) constant(a *attribute, n *node, s scope) (done bool, err error) {
	attribute, err := p.text(a.name, maxName)
	if err != nil {
		return false, err
	}
	want, known := constantTypes[attribute]
	switch {
	case !known, a.kinds == 0 && (a.kind == 0 || attribute == "value"):
		return false, nil
	case a.kind != 0 && a.kind != want, a.kinds&^(1<<want) != 0:
		return false, p.Errorf(a.at.at, "the attribute %s of a Constant is of another type than %d", attribute, want)
	}
	t := tensor{at: a.at}
	switch attribute {
	case "value":
		if t, err = p.tensor(a.t); err != nil {
			return false, err
		}
	case "value_float":
		if t.dataType, t.zero = typeFloat, a.kinds == 0; !t.zero {
			t.values[floats] = single(2, a.f)
		}
	case "value_floats":
		t.dataType, t.values[floats], t.dims = typeFloat, a.floats, []int64{a.floats.count}
	case "value_int":
		if t.dataType, t.zero = typeInt64, a.kinds == 0; !t.zero {
			t.values[int64s] = single(3, a.i)
		}
	case "value_ints":
		t.dataType, t.values[int64s] = typeInt64, a.ints
		if err := p.list(&t, &a.ints); err != nil {
			return false, err
		}
	default:
		t.dataType = typeString
	}
	name, err := p.text(n.output, maxName)
	if err != nil {
		return false, err
	}
	return true, p.value(&t, name, s)
}
