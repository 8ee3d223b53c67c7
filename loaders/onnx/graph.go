// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"strconv"

	"github.com/modelfs/modelfs/loaders/internal/distinct"
	"github.com/modelfs/modelfs/tensors"
)

// scope is a graph, or a function.
type scope struct {
	prefix string          // of the names in it; empty for the model's graph
	names  *distinct.Names // those that it has
	depth  int
}

// inner is a scope in another one.
func inner(prefix string, depth int) scope {
	return scope{prefix: prefix, names: &distinct.Names{}, depth: depth}
}

// graph reads a GraphProto.
func (p *parser) graph(m span, s scope) error {
	if s.depth > maxDepth {
		return p.Errorf(m.at, "graphs are nested more than %d deep", maxDepth)
	}
	nodes := 0
	return p.each(m, func(f field) error {
		switch f.number {
		case 1: // node
			nodes++
			if err := p.is(f, wireBytes); err != nil {
				return err
			}
			return p.node(f.value, s, nodes-1)
		case 5: // initializer
			if err := p.is(f, wireBytes); err != nil {
				return err
			}
			if p.found == nil {
				p.expect((m.end-f.at)/(f.value.end-f.at), s)
			}
			return p.initializer(f.value, s)
		case 15: // sparse_initializer
			if err := p.is(f, wireBytes); err != nil {
				return err
			}
			return p.sparse(f.value, s.prefix)
		}
		return nil
	})
}

// maxExpected bounds what is made for tensors that may not come, to some megabytes.
const maxExpected = 16 << 10

// expect makes room for tensors: for as many as the first one in a graph would have
// beside it if all had its length.
func (p *parser) expect(n int64, s scope) {
	n = min(n, maxExpected)
	p.found = make([]tensors.Tensor, 0, n)
	s.names.Grow(int(n))
}

// initializer reads a TensorProto of a graph.
func (p *parser) initializer(m span, s scope) error {
	t, err := p.tensor(m)
	if err != nil {
		return err
	}
	name, err := p.text(t.name, maxName)
	if err != nil {
		return err
	}
	return p.value(&t, name, s)
}

// value adds a tensor that is a value in a graph.
func (p *parser) value(t *tensor, name string, s scope) error {
	if !s.names.Take(name) {
		return p.Errorf(t.at.at, "the tensor %.100q is there twice in one graph", name)
	}
	return p.add(t, s.prefix, name)
}

// node is what the attributes of a NodeProto need to know of it.
type node struct {
	name, op, output span
	index            int
	constant         bool
	prefix           string // of what is in its attributes; empty: not made yet
}

// node reads a NodeProto, the index-th of its graph.
func (p *parser) node(m span, s scope, index int) error {
	var (
		was        seen
		domain     span
		outputs    int
		attributes []span
	)
	n := node{index: index}
	err := p.each(m, func(f field) error {
		switch f.number {
		case 2: // output
			if outputs++; outputs == 1 {
				n.output = f.value
			}
			return p.is(f, wireBytes)
		case 3: // name
			n.name = f.value
			return p.once(f, wireBytes, &was)
		case 4: // op_type
			n.op = f.value
			return p.once(f, wireBytes, &was)
		case 5: // attribute
			attributes = append(attributes, f.value)
			return p.is(f, wireBytes)
		case 7: // domain
			domain = f.value
			return p.once(f, wireBytes, &was)
		}
		return nil
	})
	if err != nil || len(attributes) == 0 {
		return err
	}
	if n.constant, err = p.equals(n.op, "Constant"); err != nil {
		return err
	}
	if n.constant && domain.size() > 0 {
		if n.constant, err = p.equals(domain, "ai.onnx"); err != nil {
			return err
		}
	}
	for _, a := range attributes {
		if err := p.attribute(a, &n, s); err != nil {
			return err
		}
	}
	return nil
}

// label is the name of a node or function in paths: its own, or else its operator
// and number.
func (p *parser) label(name, op span, index int) (string, error) {
	const limit = 200
	if 0 < name.size() && name.size() <= limit {
		return p.text(name, limit)
	}
	if op.size() > limit {
		op.end = op.at + limit
	}
	text, err := p.text(op, limit)
	return text + "#" + strconv.Itoa(index), err
}

// inside is the prefix of what is in a node's attributes.
func (p *parser) inside(n *node, s scope) (string, error) {
	if n.prefix == "" {
		label, err := p.label(n.name, n.op, n.index)
		if err != nil {
			return "", err
		}
		n.prefix = s.prefix + label + "/"
	}
	return n.prefix, nil
}
