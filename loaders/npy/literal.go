// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

import (
	"strconv"
	"strings"

	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

// literal reads the Python literal of a header: strings, numbers, True and False,
// tuples of numbers, one dict. Nothing else is there, and nothing is evaluated.
type literal struct {
	text string
	n    int
	at   int64 // of text in the file
}

func (p *literal) errorf(msg string, args ...any) error {
	return malformed.At(format, p.at+int64(p.n), msg, args...)
}

// next passes over space and returns the next byte, which stays; 0 at the end.
func (p *literal) next() byte {
	for p.n < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.n]) >= 0 {
		p.n++
	}
	if p.n < len(p.text) {
		return p.text[p.n]
	}
	return 0
}

func (p *literal) take(want byte) bool {
	if p.next() != want {
		return false
	}
	p.n++
	return true
}

func (p *literal) expect(want byte) error {
	if !p.take(want) {
		return p.errorf("%q where %q should be", p.next(), want)
	}
	return nil
}

// dict reads the whole header.
func (p *literal) dict() (h Header, err error) {
	if err := p.expect('{'); err != nil {
		return h, err
	}
	seen := make(map[string]bool)
	for !p.take('}') {
		at := p.n
		key, err := p.string()
		if err != nil {
			return h, err
		}
		if seen[key] {
			p.n = at
			return h, p.errorf("%q is there twice", key)
		}
		seen[key] = true
		if err := p.expect(':'); err != nil {
			return h, err
		}
		switch key {
		case "descr":
			h.DType, h.Swapped, err = p.descr()
		case "fortran_order":
			h.Columns, err = p.bool()
		case "shape":
			h.Shape, err = p.shape()
		default:
			p.n = at
			err = p.errorf("%.40q is no field of a header", key)
		}
		if err != nil {
			return h, err
		}
		if !p.take(',') && p.next() != '}' {
			return h, p.errorf("%q where %q or %q should be", p.next(), ',', '}')
		}
	}
	switch {
	case p.next() != 0, p.n < len(p.text):
		return h, p.errorf("%q follows the header's dict", p.next())
	case !seen["descr"] || !seen["fortran_order"] || !seen["shape"]:
		return h, p.errorf("descr, fortran_order or shape is missing")
	}
	return h, nil
}

// string reads a quoted text without escapes.
func (p *literal) string() (string, error) {
	quote := p.next()
	if quote != '\'' && quote != '"' {
		return "", p.errorf("%q where a text should be", quote)
	}
	end := strings.IndexByte(p.text[p.n+1:], quote)
	if end < 0 {
		return "", p.errorf("a text without an end")
	}
	s := p.text[p.n+1 : p.n+1+end]
	if strings.ContainsAny(s, "\\\n") {
		return "", p.errorf("an escape in a text")
	}
	p.n += end + 2
	return s, nil
}

func (p *literal) bool() (bool, error) {
	p.next()
	for word, v := range map[string]bool{"True": true, "False": false} {
		if strings.HasPrefix(p.text[p.n:], word) {
			p.n += len(word)
			return v, nil
		}
	}
	return false, p.errorf("neither True nor False")
}

// shape reads a tuple of sizes.
func (p *literal) shape() ([]int64, error) {
	if err := p.expect('('); err != nil {
		return nil, err
	}
	shape := []int64{}
	for !p.take(')') {
		p.next()
		end := p.n
		for end < len(p.text) && p.text[end] >= '0' && p.text[end] <= '9' {
			end++
		}
		v, err := strconv.ParseInt(p.text[p.n:end], 10, 64)
		if err != nil {
			return nil, p.errorf("no size of a dimension")
		}
		p.n = end
		if shape = append(shape, v); len(shape) > maxDims {
			return nil, p.errorf("more than %d dimensions", maxDims)
		}
		p.take('L') // Python 2 wrote long numbers so
		if !p.take(',') && p.next() != ')' {
			return nil, p.errorf("%q where %q or %q should be", p.next(), ',', ')')
		}
	}
	return shape, nil
}

// descr reads the type of the elements, and whether they are big-endian.
func (p *literal) descr() (d tensors.DType, swapped bool, err error) {
	if p.next() == '[' {
		return 0, false, Unfit{p.errorf("a structured array, which is no tensor")}
	}
	at := p.n
	s, err := p.string()
	if err != nil {
		return 0, false, err
	}
	end := p.n
	p.n = at
	if len(s) < 2 || strings.IndexByte("<>|=", s[0]) < 0 {
		return 0, false, p.errorf("%.40q is no type", s)
	}
	switch s[1] {
	case 'O':
		return 0, false, Unfit{p.errorf("it holds Python objects as a pickle, which is not read")}
	case 'V':
		return 0, false, Unfit{p.errorf("%.40q is raw bytes: NumPy does not say of which type; save it as safetensors", s)}
	}
	for _, d := range tensors.DTypes() {
		known := d.NumPy()
		if d > tensors.C128 || known[1] == 'V' || known[1:] != s[1:] {
			continue
		}
		p.n = end
		return d, s[0] == '>' && s[2:] != "1", nil
	}
	return 0, false, Unfit{p.errorf("%.40q is the type of no tensor", s)}
}
