// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
)

// Attack is one file, and what must become of it.
type Attack struct {
	// Name is "category/what": a path, unique among all.
	Name string
	// File is the file's name; its extension says the format.
	File string
	Content
	Want Want
	// Imitates says in one line what it is, and where that was seen: a CVE, an
	// advisory, an issue as owner/repository#number.
	Imitates string
	// Payload is the pickle in it that creates the canary when Python loads it; nil
	// where there is none, or where it needs what a plain Python has not.
	Payload []byte
}

// Category is the first part of the name.
func (a *Attack) Category() string {
	category, _, _ := strings.Cut(a.Name, "/")
	return category
}

// Answer is what must become of a file.
type Answer string

// The answers.
const (
	// Refused: an error of the content, which says Want.Says.
	Refused Answer = "refused"
	// Found: Want.Tensors are read, and a finding says Want.Says.
	Found Answer = "found"
	// Flagged: either of them. The file may be read, and does not pass as clean.
	Flagged Answer = "flagged"
	// Read: Want.Tensors are read. The trick does not work here.
	Read Answer = "read"
	// Unmade: refused, or listed and then refused when the bytes are made.
	Unmade Answer = "unmade"
	// Safe: any answer. What counts are the limits of time and memory.
	Safe Answer = "safe"
)

// Want is the answer that a file must get.
type Want struct {
	Answer Answer `json:"answer"`
	// Says is part of the error or of a finding, in any case of letters.
	Says string `json:"says,omitempty"`
	// Tensors are the names of the tensors, in any order.
	Tensors []string `json:"tensors,omitempty"`
}

func refused(says string) Want                { return Want{Answer: Refused, Says: says} }
func flagged(says string) Want                { return Want{Answer: Flagged, Says: says} }
func found(says string, names ...string) Want { return Want{Answer: Found, Says: says, Tensors: names} }
func read(names ...string) Want               { return Want{Answer: Read, Tensors: names} }
func safe() Want                              { return Want{Answer: Safe} }
func unmade() Want                            { return Want{Answer: Unmade} }

// Content is a file's bytes: Head, zeros, Tail. Size is the length of all of it; 0
// says that Head is all.
type Content struct {
	Head, Tail []byte
	Size       int64
}

// Length is the file's size.
func (c *Content) Length() int64 { return max(c.Size, int64(len(c.Head)+len(c.Tail))) }

// ReadAt makes a Content an io.ReaderAt.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	size := c.Length()
	if off < 0 {
		return 0, errors.New("a negative offset")
	}
	if off >= size {
		return 0, io.EOF
	}
	var err error
	if left := size - off; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	clear(p)
	if off < int64(len(c.Head)) {
		copy(p, c.Head[off:])
	}
	if tail := size - int64(len(c.Tail)); off+int64(len(p)) > tail {
		at := max(off, tail)
		copy(p[at-off:], c.Tail[at-tail:])
	}
	return len(p), err
}

// All is every file, in the order of the categories.
func All() []Attack {
	return slices.Concat(
		calls(), opcodes(), structures(), rebuilds(), carriers(), legacies(),
		archives(), directories(), npzs(),
		safetensorsFiles(), ggufs(), npys(),
		onnxs(), onnxData(), tflites(), ggmls(), others(),
	)
}

// Sound are files without a lie in them, made as the attacks are: all are read, and
// but for TorchScript's code, without a finding.
func Sound() []Attack {
	sound := func(file string, data []byte) Attack {
		return Attack{Name: "sound/" + file, File: file, Content: Content{Head: data}, Want: read("w"), Imitates: "nothing: it is sound"}
	}
	script := sound("script.pt", torchScript(nil, nil))
	script.Want = found("code", "w") // nobody vouches for what it holds besides tensors
	return []Attack{
		script,
		sound("torch.pt", torchZip(stateDict())),
		sound("plain.pt", plainZip(stateDict()).bytes()),
		sound("legacy.pt", legacy{object: pickled(2, dict(text("w"), weight(old)))}.bytes()),
		sound("stored.npz", npz(npyMember("w", nil)).bytes()),
		sound("compressed.npz", npz(deflated(npyMember("w", nil))).bytes()),
		sound("w.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", fourFloats)),
		sound("model.safetensors", safetensors(entry("w", "F32", "[4]", 0, 16), fourFloats)),
		sound("model.gguf", gguf{tensors: []ggufTensor{{name: "w", ne: []uint64{4}}}, data: fourFloats}.bytes()),
		sound("raw.onnx", onnx(initializer(nil))),
		sound("model.tflite", flatModel{}.bytes()),
		sound("model.ggml", ggml{}.bytes()),
	}
}

// fourFloats are the data of every tensor: 0, 1, 2, 3 as F32.
var fourFloats = join(uint32(0), uint32(0x3f800000), uint32(0x40000000), uint32(0x40400000))

// table makes attacks of one category and extension.
func table(category, extension string, rows ...row) []Attack {
	all := make([]Attack, len(rows))
	for i, r := range rows {
		all[i] = Attack{
			Name: category + "/" + r.what, File: r.what + extension,
			Content: r.content, Want: r.want, Imitates: r.imitates, Payload: r.payload,
		}
	}
	return all
}

// row is an attack of a table.
type row struct {
	what     string
	content  Content
	want     Want
	imitates string
	payload  []byte
}

// whole is a file of these bytes, and nothing else.
func whole(data []byte) Content { return Content{Head: data} }

// patched is a copy of a file with other bytes at a place, which counts from the
// end if it is negative.
func patched(file []byte, at int, data ...any) []byte {
	file = bytes.Clone(file)
	if at < 0 {
		at += len(file)
	}
	copy(file[at:], join(data...))
	return file
}
