// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import (
	"fmt"
	"io"

	"github.com/modelfs/modelfs/loaders/internal/distinct"
	"github.com/modelfs/modelfs/loaders/internal/window"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

const format = "TFLite"

// Limits of a model. As everything may lead to the same bytes, what is read of
// tensors is counted: no more than the file has, and than maxRead.
const (
	maxTensors = 1 << 17 // in all subgraphs, constants or not, and the subgraphs
	maxRead    = 64 << 20
	maxName    = 64 << 10
	maxPrefix  = 200
	maxDims    = 64
)

// The memory that a file is seen through. Tables lie next to the data that they
// are about, so that little is read at each place.
const (
	pages    = 64
	pageSize = 4 << 10
)

// The numbers of fields in the schema.
const (
	modelVersion   = 0
	modelSubgraphs = 2
	modelBuffers   = 4

	subgraphTensors = 0
	subgraphName    = 4

	tensorShape    = 0
	tensorType     = 1
	tensorBuffer   = 2
	tensorName     = 3
	tensorSparsity = 6
	tensorExternal = 10

	bufferData   = 0
	bufferOffset = 1
	bufferSize   = 2
)

// Parse finds the constant tensors of a file of size bytes, in the file's order.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	p := &parser{
		reader: reader{window.New(format, r, size, pages, pageSize)},
		name:   name,
		left:   min(size, maxRead),
		texts:  make(map[int64]string),
		shapes: make(map[int64][]int64),
	}
	model, err := p.start()
	if err != nil {
		return nil, err
	}
	if p.buffers, err = p.vector(model, modelBuffers, 4); err != nil {
		return nil, err
	}
	subgraphs, err := p.vector(model, modelSubgraphs, 4)
	if err != nil {
		return nil, err
	}
	for i := range subgraphs.n {
		if err := p.subgraph(subgraphs, i); err != nil {
			return nil, err
		}
	}
	for _, i := range p.later {
		p.found[i].Name = p.names.Make(p.found[i].Name)
	}
	return &tensors.Index{Tensors: p.found, Findings: p.findings}, nil
}

// parser is one reading of a model.
type parser struct {
	reader
	name     string // of the file
	buffers  vector
	found    []tensors.Tensor
	findings []tensors.Finding

	names   distinct.Names
	later   []int // the tensors whose name was taken
	tensors int64 // how many were looked at, and subgraphs
	left    int64 // bytes that may still be read

	texts  map[int64]string // what was read, by its place
	shapes map[int64][]int64
}

// start reads what a file begins with, and its root table.
func (p *parser) start() (table, error) {
	if p.Size() < 8 {
		return table{}, malformed.At(format, 0, "it is no TFLite model: it has %d bytes", p.Size())
	}
	magic, err := p.View(4, 4)
	if err != nil {
		return table{}, err
	}
	if string(magic) != "TFL3" {
		return table{}, malformed.At(format, 4, "it is no TFLite model: there is %q instead of TFL3", magic)
	}
	at, err := p.follow(0)
	if err != nil {
		return table{}, err
	}
	model, err := p.table(at)
	if err != nil {
		return table{}, err
	}
	version, err := p.u32(model, modelVersion)
	if err == nil && version != 3 {
		err = p.Errorf(at, "version %d; 3 is read", version)
	}
	return model, err
}

// take counts bytes that are read.
func (p *parser) take(at, n int64) error {
	if p.left -= n; p.left < 0 {
		return p.Errorf(at, "tables, names and shapes lie where others do: together they are larger than the file")
	}
	return nil
}

// subgraph reads the tensors of one.
func (p *parser) subgraph(all vector, i int64) error {
	g, err := p.element(all, i)
	if err != nil {
		return err
	}
	list, err := p.vector(g, subgraphTensors, 4)
	if err != nil {
		return err
	}
	if p.tensors += 1 + list.n; p.tensors > maxTensors {
		return p.Errorf(g.at, "over %d tensors and subgraphs", maxTensors)
	}
	prefix := ""
	if i > 0 && list.n > 0 {
		if prefix, err = p.prefix(g, i); err != nil {
			return err
		}
	}
	for k := range list.n {
		if err := p.tensor(list, k, prefix); err != nil {
			return err
		}
	}
	return nil
}

// prefix is what stands before the names of a subgraph.
func (p *parser) prefix(g table, i int64) (string, error) {
	name, err := p.text(g, subgraphName)
	if name == "" || len(name) > maxPrefix {
		name = fmt.Sprintf("subgraph%d", i)
	}
	return name + "/", err
}

// text is a field with a string.
func (p *parser) text(t table, number int64) (string, error) {
	v, err := p.vector(t, number, 1)
	if err != nil || v.n == 0 {
		return "", err
	}
	if s, ok := p.texts[v.at]; ok {
		return s, nil
	}
	if err := p.take(v.at, v.n); err != nil {
		return "", err
	}
	b, err := p.Bytes(v.at, uint64(v.n), maxName)
	if err != nil {
		return "", err
	}
	p.texts[v.at] = string(b)
	return p.texts[v.at], nil
}

// shape is a tensor's; it is not nil.
func (p *parser) shape(t table) ([]int64, error) {
	v, err := p.vector(t, tensorShape, 4)
	if err != nil || v.n == 0 {
		return []int64{}, err
	}
	if s, ok := p.shapes[v.at]; ok {
		return s, nil
	}
	if v.n > maxDims {
		return nil, p.Errorf(v.at, "a tensor has %d dimensions, over the limit of %d", v.n, maxDims)
	}
	if err := p.take(v.at, 4*v.n); err != nil {
		return nil, err
	}
	s := make([]int64, v.n)
	for i := range s {
		n, err := p.U32(v.at + 4*int64(i))
		if err != nil {
			return nil, err
		}
		if s[i] = int64(int32(n)); s[i] < 0 {
			return nil, p.Errorf(v.at, "a constant tensor has a dimension of %d", s[i])
		}
	}
	p.shapes[v.at] = s
	return s, nil
}
