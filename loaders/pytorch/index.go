// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

// emit lists a tensor.
func (n *namer) emit(t *tensor) error {
	n.left--
	if n.text -= int64(len(n.path) + 16*len(t.shape)); n.left < 0 || n.text < 0 {
		return malformed.At(format, n.at, "a pickle of this size gives tensors too many names, or too long ones")
	}
	name := string(n.path)
	if _, twice := n.names[name]; twice {
		return malformed.At(format, t.at, "two tensors are called %.100q", name)
	}
	if n.names == nil {
		n.names = make(map[string]struct{})
	}
	n.names[name] = struct{}{}
	out, err := n.index(t, name)
	if err != nil {
		return err
	}
	n.found = append(n.found, out)
	return nil
}

// index makes an entry of the index.
func (f *file) index(t *tensor, name string) (tensors.Tensor, error) {
	rec := t.storage.rec
	out := tensors.Tensor{Name: name, DType: t.dtype.d, Shape: numbers(t.shape), File: f.name}
	var err error
	if out.NBytes, err = t.dtype.d.NBytes(out.Shape); err != nil {
		return out, malformed.At(format, t.at, "the tensor %.100q: %v", name, err)
	}
	if rec.at < 0 {
		return out, malformed.At(format, t.at, "the storage %.100q of the tensor %.100q is not in the file", rec.key, name)
	}
	out.Offset = rec.at + t.storage.from
	if out.NBytes > 0 {
		out.Offset += t.offset * t.dtype.width
	}
	out.Strides = numbers(t.strides)
	if out.Contiguous() {
		out.Strides = nil
	}
	if mk := f.maker(t, &out); mk != nil && out.NBytes > 0 {
		out.Maker, out.Offset, out.Strides = mk, 0, nil
	}
	return out, nil
}

func numbers(items []value) []int64 {
	out := make([]int64, len(items))
	for i, x := range items {
		out[i] = x.(int64)
	}
	return out
}
