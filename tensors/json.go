// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"bufio"
	"encoding/json"
	"io"
	"strconv"
)

// WriteIndex writes an index.json: the model's name, the generation, the tensors
// in file order with the path that each has, and what is wrong with the
// checkpoint ("" for nothing). The text is made as it is written, one tensor at a
// time: an index of 100,000 tensors is some 20 MB. JSON holds no bytes that are
// not UTF-8: in names they become U+FFFD, and the path alone tells such apart.
func WriteIndex(w io.Writer, model, generation string, ix *Index, path func(ordinal int) string, indexError string) error {
	b := bufio.NewWriterSize(w, 64<<10)
	j := indexWriter{w: b}
	j.raw(`{"model": `).text(model).raw(`, "generation": `).text(generation).raw(`, "tensors": [`)
	for i := range ix.Tensors {
		if i > 0 {
			j.raw(",")
		}
		j.raw("\n  ").tensor(&ix.Tensors[i], path(i))
	}
	if len(ix.Tensors) > 0 {
		j.raw("\n")
	}
	j.raw(`], "error": `).textOrNull(indexError).raw("}\n")
	return b.Flush()
}

// WriteColumns writes what WriteIndex does for programs that make all tensors at
// once, in a quarter of the bytes, and of the values that they have to make:
//
//	{"model": "m", "generation": "…", "error": null,
//	 "files": ["model.safetensors"], "dtypes": ["F32"],
//	 "names": ["w","b","t"], "shapes": [[3,2],[3],[2,2]], "nbytes": [24,12,8],
//	 "dtype": [0,0,0], "file": [0,0,null], "offset": [64,88,null],
//	 "others": [{"name": "t", …}]}
//
// File and offset are null of a tensor that does not lie in a file as it is: its
// entry of index.json is in others, in the same order.
func WriteColumns(w io.Writer, model, generation string, ix *Index, path func(ordinal int) string, indexError string) error {
	b := bufio.NewWriterSize(w, 64<<10)
	j := indexWriter{w: b}
	j.raw(`{"model": `).text(model).raw(`, "generation": `).text(generation).raw(`, "error": `).textOrNull(indexError)
	files, dtypes := newOrdinals(), newOrdinals()
	for i := range ix.Tensors {
		t := &ix.Tensors[i]
		dtypes.of(t.DType.String())
		if t.asItIs() {
			files.of(t.File)
		}
	}
	j.raw(",\n").column("files", len(files.names), func(i int) { j.text(files.names[i]) })
	j.raw(",\n").column("dtypes", len(dtypes.names), func(i int) { j.text(dtypes.names[i]) })
	each := func(name string, write func(t *Tensor)) {
		j.raw(",\n").column(name, len(ix.Tensors), func(i int) { write(&ix.Tensors[i]) })
	}
	placed := func(name string, number func(t *Tensor) int64) {
		each(name, func(t *Tensor) {
			if t.asItIs() {
				j.number(number(t))
			} else {
				j.raw("null")
			}
		})
	}
	each("names", func(t *Tensor) { j.text(t.Name) })
	each("shapes", func(t *Tensor) { j.numbers(t.Shape, false) })
	each("nbytes", func(t *Tensor) { j.number(t.NBytes) })
	each("dtype", func(t *Tensor) { j.number(dtypes.of(t.DType.String())) })
	placed("file", func(t *Tensor) int64 { return files.of(t.File) })
	placed("offset", func(t *Tensor) int64 { return t.Offset })
	var others []int
	for i := range ix.Tensors {
		if !ix.Tensors[i].asItIs() {
			others = append(others, i)
		}
	}
	j.raw(",\n").column("others", len(others), func(i int) { j.tensor(&ix.Tensors[others[i]], path(others[i])) })
	j.raw("}\n")
	return b.Flush()
}

// asItIs says whether the tensor's bytes lie in its file, row after row.
func (t *Tensor) asItIs() bool { return t.InFile() && t.Contiguous() }

// ordinals gives each name the next number.
type ordinals struct {
	names  []string
	number map[string]int64
}

func newOrdinals() *ordinals { return &ordinals{number: make(map[string]int64)} }

func (n *ordinals) of(name string) int64 {
	number, ok := n.number[name]
	if !ok {
		number = int64(len(n.names))
		n.names = append(n.names, name)
		n.number[name] = number
	}
	return number
}

// indexWriter puts JSON together; bufio keeps the first error for Flush.
type indexWriter struct {
	w *bufio.Writer
	n []byte
}

func (j *indexWriter) raw(s string) *indexWriter {
	_, _ = j.w.WriteString(s)
	return j
}

func (j *indexWriter) text(s string) *indexWriter {
	b, _ := json.Marshal(s) // a string always can be
	_, _ = j.w.Write(b)
	return j
}

// textOrNull writes null for no text.
func (j *indexWriter) textOrNull(s string) *indexWriter {
	if s == "" {
		return j.raw("null")
	}
	return j.text(s)
}

// column writes a named list of n values.
func (j *indexWriter) column(name string, n int, value func(i int)) *indexWriter {
	j.raw(`"`).raw(name).raw(`": [`)
	for i := range n {
		if i > 0 {
			j.raw(",")
		}
		value(i)
	}
	return j.raw("]")
}

func (j *indexWriter) number(n int64) *indexWriter {
	j.n = strconv.AppendInt(j.n[:0], n, 10)
	_, _ = j.w.Write(j.n)
	return j
}

// numbers writes a list; nil is null.
func (j *indexWriter) numbers(list []int64, null bool) *indexWriter {
	if null {
		return j.raw("null")
	}
	j.raw("[")
	for i, n := range list {
		if i > 0 {
			j.raw(",")
		}
		j.number(n)
	}
	return j.raw("]")
}

func (j *indexWriter) tensor(t *Tensor, path string) {
	strides := t.StridesOrDefault()
	j.raw(`{"name": `).text(t.Name).raw(`, "path": `).text(path)
	j.raw(`, "dtype": "`).raw(t.DType.String()).raw(`", "shape": `).numbers(t.Shape, false)
	j.raw(`, "strides": `).numbers(strides, strides == nil)
	j.raw(`, "nbytes": `).number(t.NBytes)
	if !t.InFile() {
		j.raw(`, "file": null, "offset": null`)
	} else {
		j.raw(`, "file": `).text(t.File).raw(`, "offset": `).number(t.Offset)
	}
	j.raw(`, "contiguous": `).raw(strconv.FormatBool(t.Contiguous())).raw("}")
}
