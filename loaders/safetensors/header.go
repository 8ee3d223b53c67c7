// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"cmp"
	"io"
	"slices"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

const format = "safetensors"

// MaxHeader is the longest header that the format allows, in bytes.
const MaxHeader = 100_000_000

// prefix is the length of the header, before it.
const prefix = 8

func (s *scanner) at(offset int64, msg string, args ...any) error {
	return malformed.At(format, offset, msg, args...)
}

// Parse reads the header of a file of size bytes. The tensors are in the order of
// their data.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	s := &scanner{Cursor: cursor.New(format, r, size)}
	n, err := s.U64()
	switch {
	case err != nil:
		return nil, err
	case n > MaxHeader:
		return nil, s.at(0, "a header of %d bytes, over the limit of %d", n, MaxHeader)
	case n > uint64(size-prefix):
		return nil, s.at(0, "a header of %d bytes, %d are left", n, size-prefix)
	}
	data := prefix + int64(n)
	s.SetEnd(data)
	p := parser{scanner: s, name: name, data: data, seen: make(map[string]struct{})}
	if err := p.header(); err != nil {
		return nil, err
	}
	if err := p.layout(size); err != nil {
		return nil, err
	}
	return &tensors.Index{Tensors: p.sorted()}, nil
}

// parser is one reading of a header.
type parser struct {
	*scanner
	name string // of the file
	data int64  // where the data begin

	found []tensor
	seen  map[string]struct{}
	meta  bool
	slab  []int64 // where shapes are cut from
}

// tensor is an entry, with the byte where it is named. Offset counts from the
// file's start.
type tensor struct {
	tensors.Tensor
	end int64
	at  int64
}

func (p *parser) header() error {
	first, err := p.Peek()
	if err != nil {
		return err
	}
	if first != '{' {
		return p.Errorf("the header begins with %q instead of %q", first, '{')
	}
	if err := p.members(p.entry); err != nil {
		return err
	}
	if err := p.space(); err != nil {
		return err
	}
	if p.Left() > 0 {
		return p.Errorf("%d bytes follow the header's JSON", p.Left())
	}
	return nil
}

// entry reads one member of the header.
func (p *parser) entry(at int64) error {
	name := string(p.text)
	if name == metadataName {
		if p.meta {
			return p.at(at, "__metadata__ is there twice")
		}
		p.meta = true
		return p.metadata()
	}
	if _, twice := p.seen[name]; twice {
		return p.at(at, "the tensor %.100q is there twice", name)
	}
	p.seen[name] = struct{}{}
	t := tensor{at: at}
	t.Name, t.File = name, p.name
	if err := p.fields(&t); err != nil {
		return err
	}
	p.found = append(p.found, t)
	return nil
}

// metadata passes over the texts about the file.
func (p *parser) metadata() error {
	return p.members(func(int64) error {
		b, err := p.next()
		if err != nil {
			return err
		}
		if b != '"' {
			return p.Errorf("%q in __metadata__, where only texts may be", b)
		}
		return p.string(false)
	})
}

// fields reads a tensor's object. Fields that nobody knows are passed over, as
// the reference reader does.
func (p *parser) fields(t *tensor) error {
	var dtype, shape, offsets bool
	once := func(seen *bool, at int64) error {
		if *seen {
			return p.at(at, "a field of the tensor %.100q is there twice", t.Name)
		}
		*seen = true
		return nil
	}
	err := p.members(func(at int64) error {
		switch string(p.text) {
		case "dtype":
			if err := once(&dtype, at); err != nil {
				return err
			}
			return p.dtype(t)
		case "shape":
			if err := once(&shape, at); err != nil {
				return err
			}
			return p.shape(t)
		case "data_offsets":
			if err := once(&offsets, at); err != nil {
				return err
			}
			return p.offsets(t)
		}
		return p.skip(0)
	})
	switch {
	case err != nil:
		return err
	case !dtype || !shape || !offsets:
		return p.at(t.at, "the tensor %.100q needs dtype, shape and data_offsets", t.Name)
	}
	want, err := t.DType.NBytes(t.Shape)
	if err != nil {
		return p.at(t.at, "the tensor %.100q: %v", t.Name, err)
	}
	if got := t.end - t.Offset; got != want {
		return p.at(t.at, "the tensor %.100q has %d bytes, %s%v needs %d", t.Name, got, t.DType, t.Shape, want)
	}
	t.NBytes = want
	return nil
}

func (p *parser) dtype(t *tensor) error {
	if _, err := p.next(); err != nil {
		return err
	}
	at := p.Pos()
	if err := p.string(true); err != nil {
		return err
	}
	d, ok := known(string(p.text))
	if !ok {
		return p.at(at, "the dtype %.40q is unknown", p.text)
	}
	t.DType = d
	return nil
}

// known are the dtypes of this format; tensors has those of others too.
func known(name string) (tensors.DType, bool) {
	d, ok := tensors.ParseDType(name)
	return d, ok && d <= tensors.F4 && d != tensors.C128
}

func (p *parser) shape(t *tensor) error {
	start := len(p.slab)
	err := p.elements(func() error {
		n, err := p.size()
		if err != nil {
			return err
		}
		if len(p.slab) == cap(p.slab) {
			// A shape lies in one piece: what there is of it moves along.
			next := make([]int64, len(p.slab)-start, 2*(len(p.slab)-start)+1024)
			copy(next, p.slab[start:])
			p.slab, start = next, 0
		}
		p.slab = append(p.slab, n)
		return nil
	})
	t.Shape = p.slab[start:len(p.slab):len(p.slab)]
	return err
}

func (p *parser) offsets(t *tensor) error {
	var pair [2]int64
	n := 0
	at := p.Pos()
	err := p.elements(func() error {
		v, err := p.size()
		if err != nil {
			return err
		}
		if n == 2 {
			return p.Errorf("more than two data_offsets")
		}
		pair[n] = v
		n++
		return nil
	})
	switch {
	case err != nil:
		return err
	case n != 2:
		return p.at(at, "%d data_offsets instead of two", n)
	case pair[1] < pair[0]:
		return p.at(at, "data_offsets end at %d, before they begin at %d", pair[1], pair[0])
	case pair[1] > 1<<62:
		return p.at(at, "data_offsets end at %d, beyond any file", pair[1])
	}
	t.Offset, t.end = p.data+pair[0], p.data+pair[1]
	return nil
}

// layout checks that the tensors cover the data: in the order of their offsets,
// without holes or overlaps, to the end of the file.
func (p *parser) layout(size int64) error {
	slices.SortStableFunc(p.found, func(a, b tensor) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.end, b.end))
	})
	at := p.data
	for i := range p.found {
		t := &p.found[i]
		if t.Offset != at {
			return p.at(t.at, "the tensor %.100q begins at byte %d, the one before it ends at %d", t.Name, t.Offset, at)
		}
		at = t.end
	}
	switch {
	case at > size:
		return p.at(size, "the file ends here, its tensors at %d", at)
	case at < size:
		return p.at(at, "%d bytes follow the last tensor", size-at)
	}
	return nil
}

func (p *parser) sorted() []tensors.Tensor {
	out := make([]tensors.Tensor, len(p.found))
	for i := range p.found {
		out[i] = p.found[i].Tensor
	}
	return out
}
