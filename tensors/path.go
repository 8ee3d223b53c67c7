// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// IndexName is the file that lists the tensors of a folder's checkpoint.
const IndexName = "index.json"

// ColumnsName is the file that lists them by columns. It is no tensor's path: in
// those, "%" is followed by two digits or by "~".
const ColumnsName = "%index"

// npySuffix is what the NPY form of a tensor's file ends in.
const npySuffix = ".npy"

// Limits of a component, in bytes. With ".npy" and the "%" of a tensor that is
// also a folder it stays within the 255 that filesystems allow.
const (
	maxComponent  = 250
	cutComponent  = 200
	digestLetters = 16
)

// EscapePath turns a tensor's name into its path below the checkpoint's folder:
// "/" is a folder, and what a path cannot hold becomes %XX. It does not know the
// other tensors: NewTree appends "%" to one that is also a folder.
//
// Escaped are "%", NUL, bytes that are not UTF-8, the dots of "." and "..", the
// last dot of a component that ends in ".npy", and the dot of "index.json" at the
// top. An empty component is "%". A component that is longer than 250 bytes is
// its first 200, "%~" and 16 hexadecimal digits of the sha256 of what it stands
// for.
func EscapePath(name string) string {
	if plain(name) {
		return name
	}
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = escapeComponent(p, i == 0)
	}
	return strings.Join(parts, "/")
}

// plain says whether a name is its own path, which nearly all are: the index of a
// large model then holds every name once.
func plain(name string) bool {
	if name == "" || strings.ContainsAny(name, "%\x00") || !utf8.ValidString(name) {
		return false
	}
	for i, rest := 0, name; ; i++ {
		part, after, more := strings.Cut(rest, "/")
		if part == "" || part == "." || part == ".." || len(part) > maxComponent ||
			strings.HasSuffix(part, npySuffix) || i == 0 && part == IndexName {
			return false
		}
		if !more {
			return true
		}
		rest = after
	}
}

func escapeComponent(raw string, top bool) string {
	switch {
	case raw == "":
		return "%"
	case raw == ".", raw == "..":
		return strings.ReplaceAll(raw, ".", "%2E")
	case top && raw == IndexName:
		return "index%2Ejson"
	}
	dot := -1 // the one to escape
	if strings.HasSuffix(raw, npySuffix) {
		dot = len(raw) - len(npySuffix)
	}
	var b strings.Builder
	cut := 0 // the longest prefix within cutComponent that ends at a character
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRuneInString(raw[i:])
		switch {
		case r == utf8.RuneError && n == 1, raw[i] == '%', raw[i] == 0, i == dot:
			fmt.Fprintf(&b, "%%%02X", raw[i])
		default:
			b.WriteString(raw[i : i+n])
		}
		i += n
		if b.Len() <= cutComponent {
			cut = b.Len()
		}
	}
	if b.Len() <= maxComponent {
		return b.String()
	}
	sum := sha256.Sum256([]byte(raw))
	return b.String()[:cut] + "%~" + fmt.Sprintf("%x", sum)[:digestLetters]
}

// Tree is the paths of a checkpoint's tensors as folders and files. It is
// immutable. Its size is about 24 bytes a tensor: paths share the memory of the
// names.
type Tree struct {
	paths  []string // by ordinal
	sorted []int32  // ordinals, by path
}

// Node is one name in a folder of a Tree.
type Node struct {
	Name    string
	Folder  bool
	Ordinal int  // of the tensor in the index, for a file
	NPY     bool // the tensor's NPY form
}

// NewTree makes the tree of a list of tensors with distinct names. reserved are
// names at the top that stand for something else: a tensor or a folder of such a
// name gets a trailing "%", and so does a tensor whose NPY form has one.
func NewTree(ts []Tensor, reserved ...string) *Tree {
	t := &Tree{paths: make([]string, len(ts)), sorted: make([]int32, len(ts))}
	for i := range ts {
		t.paths[i] = beside(EscapePath(ts[i].Name), reserved)
		t.sorted[i] = int32(i)
	}
	t.sort()
	both := make(map[int]string) // tensors that are also folders
	for i, p := range t.paths {
		for t.isFolder(p) {
			p = beside(p+"%", reserved)
			both[i] = p
		}
	}
	for i, p := range both {
		t.paths[i] = p
	}
	if len(both) > 0 {
		t.sort()
	}
	return t
}

// beside appends "%" to a path's first component until nothing reserved has its
// name. An escaped name ends in "%" only if it is "%", so the result is as
// distinct as the path was.
func beside(p string, reserved []string) string {
	first, _, folder := strings.Cut(p, "/")
	name := first
	for taken(name, folder, reserved) {
		name += "%"
	}
	if len(name) == len(first) {
		return p
	}
	return name + p[len(first):]
}

// taken says whether something reserved has the name, or the one of its NPY form.
func taken(name string, folder bool, reserved []string) bool {
	for _, r := range reserved {
		tensor, npy := strings.CutSuffix(r, npySuffix)
		if r == name || npy && !folder && tensor == name {
			return true
		}
	}
	return false
}

func (t *Tree) sort() {
	slices.SortFunc(t.sorted, func(a, b int32) int { return strings.Compare(t.paths[a], t.paths[b]) })
}

// at returns the place of the first path that is not before p.
func (t *Tree) at(p string) int {
	i, _ := slices.BinarySearchFunc(t.sorted, p, func(n int32, p string) int { return strings.Compare(t.paths[n], p) })
	return i
}

func (t *Tree) isFolder(p string) bool {
	p += "/"
	i := t.at(p)
	return i < len(t.sorted) && strings.HasPrefix(t.paths[t.sorted[i]], p)
}

// file returns the ordinal of the tensor at a path.
func (t *Tree) file(p string) (int, bool) {
	if i := t.at(p); i < len(t.sorted) && t.paths[t.sorted[i]] == p {
		return int(t.sorted[i]), true
	}
	return 0, false
}

// Path is the path of a tensor by its place in the index.
func (t *Tree) Path(ordinal int) string { return t.paths[ordinal] }

// Lookup finds a name in a folder; the top is "".
func (t *Tree) Lookup(dir, name string) (Node, bool) {
	p := name
	if dir != "" {
		p = dir + "/" + name
	}
	if i, ok := t.file(p); ok {
		return Node{Name: name, Ordinal: i}, true
	}
	if t.isFolder(p) {
		return Node{Name: name, Folder: true}, true
	}
	if tensor, ok := strings.CutSuffix(p, npySuffix); ok {
		if i, ok := t.file(tensor); ok {
			return Node{Name: name, Ordinal: i, NPY: true}, true
		}
	}
	return Node{}, false
}

// List returns what a folder holds, in the order of the paths: folders, and every
// tensor in both its forms.
func (t *Tree) List(dir string) []Node {
	if dir != "" {
		dir += "/"
	}
	var out []Node
	for i := t.at(dir); i < len(t.sorted); {
		p, ok := strings.CutPrefix(t.paths[t.sorted[i]], dir)
		if !ok {
			break
		}
		name, _, folder := strings.Cut(p, "/")
		if folder {
			out = append(out, Node{Name: name, Folder: true})
			i = t.at(dir + name + "0") // "0" follows "/"
			continue
		}
		at := int(t.sorted[i])
		out = append(out, Node{Name: name, Ordinal: at}, Node{Name: name + npySuffix, Ordinal: at, NPY: true})
		i++
	}
	return out
}
