// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import "fmt"

// value is what a pickle makes: none, bool, int64, float64, text, and pointers to the
// types below. Nil is no value at all.
type value any

type none struct{}

// text is a string of up to maxText bytes, UTF-8.
type text string

// blob is a value whose content does not matter here: a long string, bytes, a float
// as text, a number of more than 64 bits.
type blob struct {
	what string
	n    int64  // its length in bytes
	head []byte // of a number, little-endian, if it is short
}

// mark is what a search for tensors has found out about a container.
type mark uint8

const (
	unseen  mark = iota
	seeking      // the search is in it
	without      // no tensor lies in it, or none that it does not lie in itself
	holding
	inside // holding, and the path being named leads through it
)

type tuple struct {
	items []value
	mark  mark
}

type list struct {
	items []value
	mark  mark
}

type set struct {
	items []value
	mark  mark
}

// opaque is what a call makes that is not on the list, or whose result does not
// matter. name is the function's.
type opaque struct {
	name    string
	from    []value // what it was made of
	items   []value // what was appended to it
	entries *dict   // what was set in it
	state   value   // what it was built with
	mark    mark
}

// unread is a tensor that cannot be shown, with the reason.
type unread struct {
	at  int64
	why string
}

// dict keeps its entries in the order of their first setting.
type dict struct {
	entries []entry
	more    *dictMore
	mark    mark
	ordered bool // an OrderedDict or Counter, which have attributes
}

type entry struct{ key, value value }

// dictMore is what few dicts have.
type dictMore struct {
	index map[value]int32 // by normal key; for dicts of some size
	state value           // what it was built with: its attributes
}

// plainEntries is how many entries are searched one by one.
const plainEntries = 8

// normal is the form in which Python's equal keys are equal: True is 1 is 1.0.
func normal(key value) value {
	switch k := key.(type) {
	case bool:
		if k {
			return int64(1)
		}
		return int64(0)
	case float64:
		if i := int64(k); k > -1<<53 && k < 1<<53 && float64(i) == k {
			return i
		}
	}
	return key
}

// hashable says whether Python takes a value as a key. Tuples that hold what is not
// hashable are taken here: a tensor under them is refused anyway.
func hashable(key value) bool {
	switch key.(type) {
	case *list, *dict, *set:
		return false
	}
	return true
}

func (d *dict) find(key value) int {
	key = normal(key)
	if d.more != nil && d.more.index != nil {
		if i, ok := d.more.index[key]; ok {
			return int(i)
		}
		return -1
	}
	for i := range d.entries {
		if normal(d.entries[i].key) == key {
			return i
		}
	}
	return -1
}

// get returns what lies under a text, or nil.
func (d *dict) get(key string) value {
	if i := d.find(text(key)); i >= 0 {
		return d.entries[i].value
	}
	return nil
}

// set puts a value under a key, which is hashable.
func (d *dict) set(key, v value) {
	if i := d.find(key); i >= 0 {
		d.entries[i].value = v
		return
	}
	d.entries = append(d.entries, entry{key, v})
	switch {
	case d.more != nil && d.more.index != nil:
		d.more.index[normal(key)] = int32(len(d.entries) - 1)
	case len(d.entries) > plainEntries:
		ix := make(map[value]int32, 2*plainEntries)
		for i := range d.entries {
			ix[normal(d.entries[i].key)] = int32(i)
		}
		d.extra().index = ix
	}
}

func (d *dict) extra() *dictMore {
	if d.more == nil {
		d.more = &dictMore{}
	}
	return d.more
}

// What values take in memory, in bytes, for the limit.
const (
	costWord    = 16 // a value's slot, or a number in it
	costTuple   = 32
	costDict    = 48
	costEntry   = 96 // in the slice and in the index, which grow ahead
	costOpaque  = 112
	costTensor  = 112
	costStorage = 48
	costRecord  = 80
)

// describe names a value's kind for a message.
func describe(v value) string {
	switch v := v.(type) {
	case none:
		return "None"
	case bool:
		return "a bool"
	case int64:
		return "an int"
	case float64:
		return "a float"
	case text:
		return "a string"
	case *blob:
		return v.what
	case *tuple:
		return "a tuple"
	case *list:
		return "a list"
	case *dict:
		return "a dict"
	case *set:
		return "a set"
	case *global:
		return v.shown()
	case *opaque:
		return "the result of " + shown(v.name)
	case *storage:
		return "a storage"
	case *tensor, *unread:
		return "a tensor"
	}
	return fmt.Sprintf("%T", v)
}
