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
	j.raw(`], "error": `)
	if indexError == "" {
		j.raw("null")
	} else {
		j.text(indexError)
	}
	j.raw("}\n")
	return b.Flush()
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
