// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"strconv"

	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

// maxDepth is how deep containers may lie in each other. Python's own pickler ends
// at about 1000 calls.
const maxDepth = 1000

// What names may cost: a few bytes of a pickle can make many ways to one tensor, or
// ever longer ones. A tensor of its own takes over 64 bytes, and a mention of one
// with a key of some letters 16.
const (
	minNames, bytesPerName = 512, 16
	minText, textPerByte   = 64 << 10, 16
	minSteps, stepsPerByte = 64 << 10, 16
)

// namer names the tensors below an object.
type namer struct {
	*file
	path  []byte // the way to the value that is walked
	under bool   // it is not the pickle's object itself
	last  step
	depth int

	at          int64 // of the pickle
	left        int64 // names
	text, steps int64 // bytes of names, steps of the search
}

// nameTensors gives every tensor in a pickle's object its names. at and size are the
// pickle's, prefix comes before all names if it is not empty.
func (f *file) nameTensors(root value, at, size int64, prefix string) error {
	n := &namer{
		file:  f,
		at:    at,
		left:  minNames + size/bytesPerName,
		text:  minText + textPerByte*size,
		steps: minSteps + stepsPerByte*size,
	}
	holds, err := n.seek(root, 0)
	if err != nil || !holds {
		return err
	}
	if prefix != "" {
		return n.walkIn(root, prefix, byKey)
	}
	return n.walk(root)
}

// step is how a value lies in another one.
type step uint8

const (
	byKey       step = iota // in a container, or an object's items
	byAttribute             // as an attribute
)

// walkIn walks a value one step further. Attributes of attributes follow with ".",
// all else with "/".
func (n *namer) walkIn(v value, key string, by step) error {
	length, under, last := len(n.path), n.under, n.last
	if under {
		sep := byte('/')
		if by == byAttribute && last == byAttribute {
			sep = '.'
		}
		n.path = append(n.path, sep)
	}
	n.path = append(n.path, key...)
	if len(n.path) > maxText {
		return malformed.At(format, n.at, "the name %.100q… of a tensor has over %d bytes", n.path, maxText)
	}
	if n.depth++; n.depth > maxDepth {
		return n.tooDeep()
	}
	n.under, n.last = true, by
	err := n.walk(v)
	n.path, n.under, n.last = n.path[:length], under, last
	n.depth--
	return err
}

func (n *namer) tooDeep() error {
	return malformed.At(format, n.at, "containers lie in each other over %d deep", maxDepth)
}

// markOf is the mark of a container.
func markOf(v value) *mark {
	switch v := v.(type) {
	case *tuple:
		return &v.mark
	case *list:
		return &v.mark
	case *set:
		return &v.mark
	case *dict:
		return &v.mark
	case *opaque:
		return &v.mark
	}
	return nil
}

// each gives f all values that lie in a container, keys and state among them.
func each(v value, f func(value) error) error {
	var items []value
	var entries *dict
	var state value
	switch v := v.(type) {
	case *tuple:
		items = v.items
	case *list:
		items = v.items
	case *set:
		items = v.items
	case *dict:
		entries = v
	case *opaque:
		for _, x := range v.from {
			if err := f(x); err != nil {
				return err
			}
		}
		items, entries, state = v.items, v.entries, v.state
	}
	for _, x := range items {
		if err := f(x); err != nil {
			return err
		}
	}
	if entries != nil {
		for _, e := range entries.entries {
			if err := f(e.key); err != nil {
				return err
			}
			if err := f(e.value); err != nil {
				return err
			}
		}
		if entries.more != nil && entries.more.state != nil {
			if err := f(entries.more.state); err != nil {
				return err
			}
		}
	}
	if state != nil {
		return f(state)
	}
	return nil
}

// seek marks the containers that tensors lie in, and says whether v is one of them
// or a tensor.
func (n *namer) seek(v value, depth int) (bool, error) {
	if t, ok := v.(*tensor); ok {
		if !nothing(t.state) {
			_, err := n.seek(t.state, depth+1)
			return true, err
		}
		return true, nil
	}
	if leaf(v) {
		_, ok := v.(*unread)
		return ok, nil
	}
	m := markOf(v)
	if *m != unseen {
		return *m == holding, nil
	}
	if depth > maxDepth {
		return false, n.tooDeep()
	}
	*m = seeking
	found := false
	err := each(v, func(x value) error {
		holds, err := n.seek(x, depth+1)
		found = found || holds
		return err
	})
	*m = without
	if found {
		*m = holding
	}
	return found, err
}

// leaf says whether nothing can lie in a value.
func leaf(v value) bool {
	switch v := v.(type) {
	case *tuple:
		return len(v.items) == 0
	case *list:
		return len(v.items) == 0
	case *set:
		return len(v.items) == 0
	case *dict:
		return len(v.entries) == 0 && v.more == nil
	case *opaque:
		return false
	}
	return true
}

// holds is what seek found out.
func holds(v value) bool {
	switch v.(type) {
	case nil:
		return false
	case *tensor, *unread:
		return true
	}
	if leaf(v) {
		return false
	}
	m := *markOf(v)
	return m == holding || m == inside
}

// walk names the tensors that lie in v, which holds some.
func (n *namer) walk(v value) error {
	if n.steps < 0 {
		return malformed.At(format, n.at, "too many ways lead to the tensors of a pickle of this size")
	}
	switch v := v.(type) {
	case *tensor:
		if !n.under {
			return n.walkIn(v, "tensor", byKey)
		}
		if err := n.emit(v); err != nil || !holds(v.state) {
			return err
		}
		return n.attributes(v.state, "a tensor")
	case *unread:
		return malformed.At(format, v.at, "%.100q is %s: it is not read", n.path, v.why)
	}
	m := markOf(v)
	if *m == inside { // the object lies in itself: its tensors have their names
		return nil
	}
	*m = inside
	defer func() { *m = holding }()
	switch v := v.(type) {
	case *tuple:
		return n.walkItems(v.items)
	case *list:
		return n.walkItems(v.items)
	case *set:
		return malformed.At(format, n.at, "a tensor lies in a set, %.100q: it has no name", n.path)
	case *dict:
		return n.walkDict(v)
	case *opaque:
		return n.walkOpaque(v)
	}
	return nil
}

func (n *namer) walkItems(items []value) error {
	n.steps -= int64(len(items))
	for i, x := range items {
		if holds(x) {
			if err := n.walkIn(x, strconv.Itoa(i), byKey); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *namer) walkDict(d *dict) error {
	if err := n.walkEntries(d.entries, byKey); err != nil {
		return err
	}
	if d.more == nil || !holds(d.more.state) {
		return nil
	}
	return n.attributes(d.more.state, "a dict")
}

func (n *namer) walkEntries(entries []entry, by step) error {
	n.steps -= int64(len(entries))
	for _, e := range entries {
		if holds(e.key) {
			return malformed.At(format, n.at, "a tensor lies in a key of the dict %.100q: it has no name", n.path)
		}
		if !holds(e.value) {
			continue
		}
		k, ok := keyName(e.key)
		if !ok {
			return malformed.At(format, n.at, "a tensor in %.100q lies under a key that is %s: it has no name", n.path, describe(e.key))
		}
		if err := n.walkIn(e.value, k, by); err != nil {
			return err
		}
	}
	return nil
}

func keyName(k value) (string, bool) {
	switch k := k.(type) {
	case text:
		return string(k), true
	case int64:
		return strconv.FormatInt(k, 10), true
	case bool:
		if k {
			return "True", true
		}
		return "False", true
	case none:
		return "None", true
	}
	return "", false
}

// walkOpaque names what was put into an object. What depends on its arguments, only
// a call could tell.
func (n *namer) walkOpaque(o *opaque) error {
	for _, x := range o.from {
		if holds(x) {
			return malformed.At(format, n.at, "%.100q is what a call of %s makes of a tensor: it is not on the list of what is known", n.path, shown(o.name))
		}
	}
	if err := n.walkItems(o.items); err != nil {
		return err
	}
	if o.entries != nil {
		if err := n.walkEntries(o.entries.entries, byKey); err != nil {
			return err
		}
	}
	if !holds(o.state) {
		return nil
	}
	return n.attributes(o.state, "an object of "+shown(o.name))
}

// attributes names what lies in an object's state: a dict, or a pair of a dict or
// None and one of slots.
func (n *namer) attributes(state value, of string) error {
	dicts := []value{state}
	if t, ok := state.(*tuple); ok && len(t.items) == 2 {
		dicts = t.items
	}
	for _, v := range dicts {
		d, ok := v.(*dict)
		switch {
		case ok:
			if err := n.walkAttributes(d); err != nil {
				return err
			}
		case holds(v):
			return malformed.At(format, n.at, "the state of %s, %.100q, holds a tensor and is %s, no dict of attributes", of, n.path, describe(v))
		}
	}
	return nil
}

// isPart says whether an attribute of an nn.Module is one whose content has names of
// its own.
func isPart(name string) bool {
	return name == "_parameters" || name == "_buffers" || name == "_modules"
}

func (n *namer) walkAttributes(d *dict) error {
	module := true
	for _, part := range []string{"_parameters", "_buffers", "_modules"} {
		_, ok := d.get(part).(*dict)
		module = module && ok
	}
	if !module {
		return n.walkEntries(d.entries, byAttribute)
	}
	for i, e := range d.entries {
		in := d.entries[i : i+1]
		if k, ok := e.key.(text); ok && isPart(string(k)) {
			in = e.value.(*dict).entries
		}
		if err := n.walkEntries(in, byAttribute); err != nil {
			return err
		}
	}
	return nil
}

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
