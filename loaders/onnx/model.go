// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"fmt"
	"io"
	"math"

	"github.com/modelfs/modelfs/loaders/internal/distinct"
	"github.com/modelfs/modelfs/loaders/internal/window"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

const format = "ONNX"

// Limits of a model. protobuf ends at 2 GiB, which is why there are external data.
// Depth counts graphs in graphs, dimensions are NumPy's limit.
const (
	maxSize    = math.MaxInt32
	maxDepth   = 32
	maxTensors = 1 << 20
	maxName    = 64 << 10
	maxDims    = 64
)

// The memory that a file is seen through. Pages are small, as next to each weight
// one is read.
const (
	pages    = 16
	pageSize = 8 << 10
)

// Parse finds the tensors of a file of size bytes. name says which folder external
// data lie in.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	if size > maxSize {
		return nil, malformed.At(format, 0, "it has %d bytes, a protobuf has at most %d", size, maxSize)
	}
	p := &parser{
		scanner: scanner{Window: window.New(format, r, size, pages, pageSize)},
		name:    name,
		counted: maxCounted,
	}
	if err := p.model(span{0, size}); err != nil {
		return nil, err
	}
	for _, i := range p.deeper {
		p.found[i].Name = p.top.Make(p.found[i].Name)
	}
	return &tensors.Index{Tensors: p.found, Findings: p.findings}, nil
}

// parser is one reading of a model.
type parser struct {
	scanner
	name     string // of the file
	found    []tensors.Tensor
	findings []tensors.Finding

	top     distinct.Names // the names in the model's graph
	dims    [maxDims]int64 // of the tensor that is being read
	slab    []int64        // where shapes are cut from
	deeper  []int          // the tensors that are not in it
	paths   int            // bytes that paths have, of what is deeper
	counted int64          // bytes of numbers that may still be counted
}

// find adds a finding.
func (p *parser) find(at int64, msg string, args ...any) {
	p.findings = append(p.findings, tensors.Finding{File: p.name, Offset: at, Text: fmt.Sprintf(msg, args...)})
}

// model reads a ModelProto.
func (p *parser) model(m span) error {
	var (
		was                 seen
		version             int64
		graph               span
		functions, training []span
	)
	err := p.each(m, func(f field) error {
		switch f.number {
		case 1: // ir_version
			version = int64(f.n)
			return p.once(f, wireVarint, &was)
		case 7: // graph
			graph = f.value
			return p.once(f, wireBytes, &was)
		case 20: // training_info
			training = append(training, f.value)
			return p.is(f, wireBytes)
		case 25: // functions
			functions = append(functions, f.value)
			return p.is(f, wireBytes)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case version <= 0:
		return malformed.At(format, 0, "it is no ONNX model: it has no ir_version above 0")
	case !graph.there():
		return malformed.At(format, 0, "it is no ONNX model: it has no graph")
	}
	if err := p.graph(graph, scope{names: &p.top}); err != nil {
		return err
	}
	for i, t := range training {
		if err := p.training(t, fmt.Sprintf("training_info/%d/", i)); err != nil {
			return err
		}
	}
	for i, f := range functions {
		if err := p.function(f, i); err != nil {
			return err
		}
	}
	return nil
}

// training reads a TrainingInfoProto.
func (p *parser) training(m span, prefix string) error {
	var was seen
	return p.each(m, func(f field) error {
		part := ""
		switch f.number {
		case 1:
			part = "initialization/"
		case 2:
			part = "algorithm/"
		default:
			return nil
		}
		if err := p.once(f, wireBytes, &was); err != nil {
			return err
		}
		return p.graph(f.value, inner(prefix+part, 1))
	})
}

// function reads a FunctionProto, the index-th of the model.
func (p *parser) function(m span, index int) error {
	var (
		was               seen
		name              span
		nodes, attributes []span
	)
	err := p.each(m, func(f field) error {
		switch f.number {
		case 1: // name
			name = f.value
			return p.once(f, wireBytes, &was)
		case 7: // node
			nodes = append(nodes, f.value)
			return p.is(f, wireBytes)
		case 11: // attribute_proto
			attributes = append(attributes, f.value)
			return p.is(f, wireBytes)
		}
		return nil
	})
	if err != nil {
		return err
	}
	label, err := p.label(name, span{}, index)
	if err != nil {
		return err
	}
	s := inner("functions/"+label+"/", 1)
	for i, n := range nodes {
		if err := p.node(n, s, i); err != nil {
			return err
		}
	}
	for _, a := range attributes {
		if err := p.attribute(a, &node{prefix: s.prefix}, s); err != nil {
			return err
		}
	}
	return nil
}
