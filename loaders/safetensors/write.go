// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/modelfs/modelfs/tensors"
)

// PageSize is what the data of a file that Plan lays out begin at a multiple of, so
// that the file can be mapped.
const PageSize = 4096

// dtypeOrder is the order of tensors in a file: the reference writer's
// (safetensors/src/tensor.rs), from the widest to the narrowest, which aligns each
// tensor to its elements.
var dtypeOrder = [...]tensors.DType{
	tensors.U64, tensors.I64, tensors.F64, tensors.C64,
	tensors.F32, tensors.U32, tensors.I32,
	tensors.BF16, tensors.F16, tensors.U16, tensors.I16,
	tensors.F8E5M2FNUZ, tensors.F8E4M3FNUZ, tensors.F8E8M0, tensors.F8E4M3, tensors.F8E5M2, tensors.I8, tensors.U8,
	tensors.F6E3M2, tensors.F6E2M3, tensors.F4, tensors.BOOL,
}

// Options say how tensors are laid out.
type Options struct {
	// Name is the files' without its extension; "model" if it is empty.
	Name string
	// Shard is how many bytes of tensors a file has at the most; one tensor that is
	// larger has a file to itself. 0: everything is in one file.
	Shard int64
	// Metadata are texts about the file. Nil means {"format": "pt"}, without which
	// transformers refuses a file.
	Metadata map[string]string
}

// Layout is a set of files that hold tensors.
type Layout struct {
	// Files are one, or several shards: model-00001-of-00002.safetensors and so on.
	Files []File
	// IndexName and Index are the list of the shards and its content,
	// model.safetensors.index.json; empty for one file.
	IndexName string
	Index     []byte
	// Total is how many bytes all tensors have.
	Total int64
}

// File is one file of a Layout.
type File struct {
	Name string
	// Header is the file's beginning. It ends with spaces at a multiple of PageSize.
	Header []byte
	// Tensors are the tensors in the order of their data, which follow Header and each
	// other without holes. They are those that were given to Plan: File, Offset and
	// Maker say where to read them.
	Tensors []tensors.Tensor
	// Size is the whole file's.
	Size int64
}

// Plan lays out tensors. With shards, they are filled in the order given; within a
// file the order is the format's. Nothing is kept but the tensors themselves.
//
// It is ErrUnwritable for a dtype that the format does not have, for a name that is
// no UTF-8, too long or there twice, for sizes that no file has, and for a header
// over MaxHeader; tensors.ErrShape for a tensor whose NBytes is not what its shape
// needs. What it takes, Parse takes.
func Plan(all []tensors.Tensor, o Options) (*Layout, error) {
	if o.Name == "" {
		o.Name = "model"
	}
	if o.Metadata == nil {
		o.Metadata = map[string]string{"format": "pt"}
	}
	rank := make(map[tensors.DType]int, len(dtypeOrder))
	for i, d := range dtypeOrder {
		rank[d] = i
	}
	l := &Layout{}
	names := make(map[string]struct{}, len(all))
	for i := range all {
		t := &all[i]
		if err := writable(t, rank); err != nil {
			return nil, err
		}
		if _, twice := names[t.Name]; twice {
			return nil, fmt.Errorf("the tensor %.100q is there twice: %w", t.Name, ErrUnwritable)
		}
		names[t.Name] = struct{}{}
		if t.NBytes > maxData-l.Total {
			return nil, fmt.Errorf("the tensors up to %.100q have over %d bytes: %w", t.Name, int64(maxData), ErrUnwritable)
		}
		l.Total += t.NBytes
	}
	for _, part := range shards(all, o.Shard) {
		slices.SortStableFunc(part, func(a, b tensors.Tensor) int {
			return cmp.Or(cmp.Compare(rank[a.DType], rank[b.DType]), cmp.Compare(a.Name, b.Name))
		})
		l.Files = append(l.Files, File{Tensors: part})
	}
	if err := l.write(o); err != nil {
		return nil, err
	}
	return l, nil
}

// Writes says whether the format has a dtype.
func Writes(d tensors.DType) bool { return slices.Contains(dtypeOrder[:], d) }

// maxData keeps every offset far from overflowing, and below what Parse takes.
const maxData = 1 << 61

// writable checks what a header says of one tensor.
func writable(t *tensors.Tensor, rank map[tensors.DType]int) error {
	n, err := t.DType.NBytes(t.Shape)
	_, known := rank[t.DType]
	switch {
	case !known && t.DType.IsBlock() && t.DType.IsFloat():
		return fmt.Errorf("%.100q is %s, which is no dtype of safetensors: export with --dtype f32: %w", t.Name, t.DType, ErrUnwritable)
	case !known:
		return fmt.Errorf("%.100q is %s, which is no dtype of safetensors: %w", t.Name, t.DType, ErrUnwritable)
	case err != nil:
		return fmt.Errorf("%.100q: %w", t.Name, err)
	case n != t.NBytes:
		return fmt.Errorf("%.100q has %d bytes, %s%v needs %d: %w", t.Name, t.NBytes, t.DType, t.Shape, n, tensors.ErrShape)
	case !utf8.ValidString(t.Name):
		return fmt.Errorf("the name %.100q is not UTF-8: %w", t.Name, ErrUnwritable)
	case t.Name == metadataName:
		return fmt.Errorf("a tensor is named %q, which means something else: %w", t.Name, ErrUnwritable)
	case len(t.Name) > maxName:
		return fmt.Errorf("the name %.100q has %d bytes, over the limit of %d: %w", t.Name, len(t.Name), maxName, ErrUnwritable)
	}
	return nil
}

// shards cuts tensors into runs of at most limit bytes; no limit, one run. There is
// always one.
func shards(all []tensors.Tensor, limit int64) [][]tensors.Tensor {
	var parts [][]tensors.Tensor
	first, size := 0, int64(0)
	for i := range all {
		if limit > 0 && size > 0 && all[i].NBytes > limit-size {
			parts = append(parts, slices.Clone(all[first:i]))
			first, size = i, 0
		}
		size += all[i].NBytes
	}
	return append(parts, slices.Clone(all[first:]))
}

// Write writes the file: its header, then what data writes for each tensor, which
// must be as many bytes as it has. It keeps nothing, and stops at the first error.
//
// Whoever calls it sees to it that half a file never has the name of a whole one:
// written under another name, synchronised, then renamed; of a Layout, the index
// last.
func (f *File) Write(w io.Writer, data func(w io.Writer, t *tensors.Tensor) error) error {
	if _, err := w.Write(f.Header); err != nil {
		return fmt.Errorf("write the header of %s: %w", f.Name, err)
	}
	for i := range f.Tensors {
		t := &f.Tensors[i]
		c := exactly{w: w, left: t.NBytes}
		if err := data(&c, t); err != nil {
			return fmt.Errorf("write %.100q to %s: %w", t.Name, f.Name, err)
		}
		if c.left > 0 {
			return fmt.Errorf("write %.100q to %s: %d of %d bytes are missing: %w", t.Name, f.Name, c.left, t.NBytes, io.ErrUnexpectedEOF)
		}
	}
	return nil
}

// exactly takes so many bytes and no more.
type exactly struct {
	w    io.Writer
	left int64
}

func (e *exactly) Write(p []byte) (int, error) {
	if int64(len(p)) > e.left {
		return 0, fmt.Errorf("%d bytes too many: %w", int64(len(p))-e.left, io.ErrShortWrite)
	}
	n, err := e.w.Write(p)
	e.left -= int64(n)
	return n, err
}
