// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"fmt"
	"math/bits"

	"github.com/modelfs/modelfs/workers/call"
)

// results reads what handlers answer, into memory that it uses again.
type results struct {
	response Response
	shapes   []int64
}

// read makes a Response of a RESULT's count and body. Every output lies in region, or, if
// it was asked for with a file, there; it has as many bytes as its shape says.
func (d *results) read(req *Request, region Place, names map[string]string, r record) (*Response, error) {
	d.response.Outputs = d.response.Outputs[:0]
	d.response.Final = r.flags&flagLast != 0
	d.shapes = d.shapes[:0]
	if len(r.body)/8 > cap(d.shapes) {
		d.shapes = make([]int64, 0, len(r.body)/8) // never grows below, so that the outputs' slices of it stay
	}
	b := r.body
	for range r.count {
		t, rest, err := d.tensor(b, names)
		if err != nil {
			return nil, err
		}
		if err := place(&t, little.Uint64(b), req, region); err != nil {
			return nil, fmt.Errorf("output %.40q: %w", t.Name, err)
		}
		if req.Rows > 0 && (len(t.Shape) == 0 || t.Shape[0] != int64(req.Rows)) {
			return nil, fmt.Errorf("output %.40q of a batch of %d rows has shape %v", t.Name, req.Rows, t.Shape)
		}
		for i := range d.response.Outputs {
			if d.response.Outputs[i].Name == t.Name {
				return nil, fmt.Errorf("output %.40q twice", t.Name)
			}
		}
		d.response.Outputs = append(d.response.Outputs, t)
		b = rest
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%d bytes behind a result's last output", len(b))
	}
	return &d.response, nil
}

// tensor takes the first one off b. Its Place has no File yet, and in Offset and Bytes
// what b says, which may be nonsense.
func (d *results) tensor(b []byte, names map[string]string) (Tensor, []byte, error) {
	if len(b) < tensorSize {
		return Tensor{}, nil, fmt.Errorf("an output of %d bytes", len(b))
	}
	datatype, rank, name := call.Datatype(b[24]), int(b[25]), int(little.Uint16(b[26:]))
	size := tensorSize + 8*rank + (name+7)&^7
	if !datatype.Valid() || rank > maxRank || name == 0 || name > maxName || little.Uint32(b[28:]) != 0 || size > len(b) {
		return Tensor{}, nil, fmt.Errorf("an output of datatype %d, rank %d and a name of %d bytes, in %d bytes", datatype, rank, name, len(b))
	}
	var t Tensor
	t.Datatype = datatype
	t.Offset, t.Bytes = int64(little.Uint64(b[8:])), int64(little.Uint64(b[16:]))
	first := len(d.shapes)
	for i := range rank {
		d.shapes = append(d.shapes, int64(little.Uint64(b[tensorSize+8*i:])))
	}
	t.Shape = d.shapes[first:len(d.shapes):len(d.shapes)]
	text := b[tensorSize+8*rank:][:name]
	known, ok := names[string(text)]
	if !ok {
		known = string(text)
	}
	t.Name = known
	return t, b[size:], nil
}

// place checks where an output lies, in the file of that key, and how many bytes it has.
func place(t *Tensor, key uint64, req *Request, region Place) error {
	allowed := region
	if req.Outputs != nil {
		asked := -1
		for i := range req.Outputs {
			if req.Outputs[i].Name == t.Name {
				asked = i
				break
			}
		}
		if asked < 0 {
			return fmt.Errorf("nobody asked for it")
		}
		if req.Outputs[asked].File != nil {
			allowed = req.Outputs[asked].Place
		}
	}
	n, ok := elements(t.Shape)
	if !ok {
		return fmt.Errorf("shape %v", t.Shape)
	}
	if size := t.Datatype.Size(); size > 0 {
		over, want := bits.Mul64(uint64(n), uint64(size))
		if over != 0 || t.Bytes < 0 || want != uint64(t.Bytes) {
			return fmt.Errorf("%d bytes of %v %v", t.Bytes, t.Shape, t.Datatype)
		}
	} else if t.Bytes < 0 || n > t.Bytes/4 {
		return fmt.Errorf("%d bytes of %v %v", t.Bytes, t.Shape, t.Datatype)
	}
	if t.Bytes == 0 && key == 0 { // of nothing, nowhere
		t.Place = Place{}
		return nil
	}
	if allowed.File == nil || key != allowed.File.Key {
		return fmt.Errorf("it lies in file %d, which it was not given", key)
	}
	end := allowed.Offset + allowed.Bytes
	if t.Offset < allowed.Offset || t.Offset > end || t.Bytes > end-t.Offset {
		return fmt.Errorf("%d bytes at %d lie outside of the %d at %d", t.Bytes, t.Offset, allowed.Bytes, allowed.Offset)
	}
	t.File = allowed.File
	if t.Datatype == call.BYTES {
		return framed(t.Data(), n)
	}
	return nil
}

// elements is the product of a shape; false if it is none.
func elements(shape []int64) (int64, bool) {
	n, zero := uint64(1), false
	for _, d := range shape {
		if d < 0 {
			return 0, false
		}
		if d == 0 {
			zero = true
			continue
		}
		over, product := bits.Mul64(n, uint64(d))
		if over != 0 || product > 1<<62 {
			return 0, false
		}
		n = product
	}
	if zero {
		return 0, true
	}
	return int64(n), true
}

// framed says whether b is n elements with their lengths before them. What is not mapped
// here is for whoever reads it.
func framed(b []byte, n int64) error {
	if b == nil {
		return nil
	}
	for i := range n {
		if len(b) < 4 || uint64(little.Uint32(b)) > uint64(len(b)-4) {
			return fmt.Errorf("element %d of %d does not lie within its bytes", i, n)
		}
		b = b[4+little.Uint32(b):]
	}
	if len(b) != 0 {
		return fmt.Errorf("%d bytes behind the last of %d elements", len(b), n)
	}
	return nil
}
