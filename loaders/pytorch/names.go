// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"strconv"

	"github.com/modelfs/modelfs/loaders/malformed"
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
		case ok && d.more != nil && holds(d.more.state):
			return malformed.At(format, n.at, "the attributes of %s, %.100q, have attributes that hold a tensor", of, n.path)
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
		in, ok := d.get(part).(*dict)
		module = module && ok && (in.more == nil || !holds(in.more.state))
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
