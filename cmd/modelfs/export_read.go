// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tensors/convert"
)

// exported is what is exported: the tensors of one generation of a checkpoint.
//
// A checkpoint on disk is read from its own files, by the places that its loader
// found. One of a mount is read as the tensor files of the mount, and not from its
// source or from models/: that is the one way which all models of a mount have, also
// those that were published into it and lie nowhere else; the daemon has checked the
// files, makes what must be made, and loads one tensor at a time.
type exported struct {
	tensors []tensors.Tensor
	// findings are those of the checkpoint's files; -1 in a mount, which does not say.
	findings int
	path     string // for inspect --check
	// unchanged fails if the checkpoint is another generation by now.
	unchanged func(context.Context) error

	openFile func(ctx context.Context, name string) (*os.File, error)
	files    map[string]*os.File // open ones, by Tensor.File
}

// maxOpen is how many files of an origin are open at once.
const maxOpen = 64

// tensors lists what there is to export.
func (o *origin) tensors(ctx context.Context) (*exported, error) {
	x := &exported{path: o.path, files: make(map[string]*os.File)}
	if o.checkpoint == nil {
		if err := x.fromMount(ctx, o); err != nil {
			return nil, err
		}
		return x, nil
	}
	ix, err := o.checkpoint.Index(ctx)
	switch {
	case err != nil:
		return nil, err
	case ix.Err != nil:
		return nil, ix.Err
	}
	x.tensors, x.findings = ix.Index.Tensors, len(ix.Index.Findings)
	x.openFile = func(ctx context.Context, name string) (*os.File, error) {
		f, err := interruptibly(ctx, func() (*os.File, error) {
			f, st, err := o.model.Open(ctx, name)
			if err == nil && st.Generation != ix.Files[name] {
				f.Close()
				err = changed(name)
			}
			return f, err
		})
		if err == nil && x.path == "" {
			x.path = f.Name()
		}
		return f, err
	}
	x.unchanged = func(ctx context.Context) error {
		for name, was := range ix.Files {
			if now, err := o.model.Generation(ctx, name); err != nil || now != was {
				return changed(name)
			}
		}
		return nil
	}
	return x, nil
}

func changed(name string) error {
	return fmt.Errorf("%s changed during the export, nothing was written: %w", name, sources.ErrReplaced)
}

// fromMount takes the tensors of an index.json.
func (x *exported) fromMount(ctx context.Context, o *origin) error {
	at := filepath.Join(o.folder, tensors.IndexName)
	read := func() (*mountIndex, error) {
		text, err := os.ReadFile(at)
		if err != nil {
			return nil, explainTensors(o.mount, o.name, err)
		}
		ix := &mountIndex{}
		if err := json.Unmarshal(text, ix); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		return ix, nil
	}
	ix, err := read()
	if err != nil {
		return err
	}
	if ix.Error != nil {
		return errors.New(printable(*ix.Error))
	}
	for _, t := range ix.Tensors {
		switch {
		case !filepath.IsLocal(t.Path):
			return fmt.Errorf("%s: the path %q leads out of the mount", at, t.Path)
		case strings.ContainsRune(t.Name, '\uFFFD'):
			return fmt.Errorf("the name %q may not be UTF-8, which safetensors demands and %s does not tell: export the file itself", t.Name, tensors.IndexName)
		}
		x.tensors = append(x.tensors, tensors.Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, NBytes: t.NBytes, File: t.Path})
	}
	x.findings = -1
	x.openFile = func(ctx context.Context, name string) (*os.File, error) {
		f, err := interruptibly(ctx, func() (*os.File, error) { return os.Open(filepath.Join(o.folder, name)) })
		return f, explainTensors(o.mount, o.name, err)
	}
	x.unchanged = func(context.Context) error {
		if now, err := read(); err != nil || now.Generation != ix.Generation {
			return changed(o.name)
		}
		return nil
	}
	return ctx.Err()
}

// mountIndex is what an export needs of an index.json.
type mountIndex struct {
	Generation string `json:"generation"`
	Tensors    []struct {
		Name   string        `json:"name"`
		Path   string        `json:"path"`
		DType  tensors.DType `json:"dtype"`
		Shape  []int64       `json:"shape"`
		NBytes int64         `json:"nbytes"`
	} `json:"tensors"`
	Error *string `json:"error"`
}

// interruptibly opens a file whose open may wait until it is loaded, in a mount. Go's
// open does not end when a signal comes.
func interruptibly(ctx context.Context, open func() (*os.File, error)) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	got := make(chan opened, 1)
	go func() {
		f, err := open()
		got <- opened{f, err}
	}()
	select {
	case o := <-got:
		return o.f, o.err
	case <-ctx.Done():
		return nil, ctx.Err() // the process ends, and the open with it
	}
}

// open returns a file of the origin. It stays open until close.
func (x *exported) open(ctx context.Context, name string) (*os.File, error) {
	if f := x.files[name]; f != nil {
		return f, nil
	}
	if len(x.files) >= maxOpen {
		x.close()
	}
	f, err := x.openFile(ctx, name)
	if err == nil {
		x.files[name] = f
	}
	return f, err
}

func (x *exported) close() {
	for _, f := range x.files {
		f.Close()
	}
	clear(x.files)
}

// Sizes of what is in memory at once: of a tensor that lies in one piece, and of one
// with strides, which is read once for each slab in the worst case (transposed).
const (
	exportPiece = 4 << 20
	exportSlab  = 256 << 20
)

// copier writes tensors as File.Write asks for them.
func (e *export) copier(ctx context.Context) func(io.Writer, *tensors.Tensor) error {
	c := &copier{ctx: ctx, piece: exportPiece, slab: exportSlab}
	return func(w io.Writer, t *tensors.Tensor) error {
		if t.NBytes == 0 {
			return nil
		}
		f, err := e.from.open(ctx, t.File)
		if err != nil {
			return err
		}
		c.w, c.file = w, f
		from, to := t, t.DType
		if was := e.before[t.Name]; was != nil {
			from = was
		}
		return c.copy(from, to)
	}
}

// copier writes the bytes of tensors, converted or not.
type copier struct {
	ctx         context.Context
	w           io.Writer
	file        io.ReaderAt
	piece, slab int64
	buf         []byte
}

func (c *copier) copy(t *tensors.Tensor, to tensors.DType) error {
	switch {
	case t.Maker != nil:
		made := convert.Precision(t, to)
		b := make([]byte, made.NBytes) // the whole: it can be made in no other way
		if err := made.Maker.Make(c.ctx, c.file, b); err != nil {
			return err
		}
		_, err := c.w.Write(b)
		return err
	case t.Contiguous():
		return c.pieces(t, to)
	}
	return c.slabs(t, to)
}

// pieces copies what lies in one piece.
func (c *copier) pieces(t *tensors.Tensor, to tensors.DType) error {
	elements, in := t.DType.Block()
	_, out := to.Block()
	if t.DType == to {
		in, out = 1, 1 // bytes, whatever they mean
	} else {
		out *= elements
	}
	step := max(1, c.piece/max(in, out)) * in
	for at := int64(0); at < t.NBytes; at += step {
		n := min(step, t.NBytes-at)
		b := c.room(n / in * out)
		var err error
		if t.DType == to {
			err = readWhole(c.file, b, t.Offset+at)
		} else {
			err = convert.Read(c.ctx, b, to, c.file, t.Offset+at, t.DType, n)
		}
		if err != nil {
			return err
		}
		if _, err := c.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// slabs copies a tensor with strides: as many rows at a time as fit.
func (c *copier) slabs(t *tensors.Tensor, to tensors.DType) error {
	whole := convert.Precision(t, to)
	if max(t.NBytes, whole.NBytes) <= c.slab || len(t.Shape) == 0 {
		b := c.room(whole.NBytes)
		var err error
		if whole.Maker != nil {
			err = whole.Maker.Make(c.ctx, c.file, b)
		} else {
			err = tensors.Gather(c.ctx, b, c.file, t)
		}
		if err != nil {
			return err
		}
		_, err = c.w.Write(b)
		return err
	}
	_, width := t.DType.Block()
	row := max(t.NBytes, whole.NBytes) / t.Shape[0]
	rows := max(1, c.slab/row)
	for i := int64(0); i < t.Shape[0]; i += rows {
		part := *t
		n := min(rows, t.Shape[0]-i)
		part.Offset += i * t.Strides[0] * width
		part.NBytes = t.NBytes / t.Shape[0] * n
		if rows > 1 {
			part.Shape = append([]int64{n}, t.Shape[1:]...)
		} else {
			part.Shape, part.Strides = t.Shape[1:], t.Strides[1:]
		}
		if err := c.slabs(&part, to); err != nil {
			return err
		}
	}
	return nil
}

// room is a buffer, good until the next one is asked for.
func (c *copier) room(n int64) []byte {
	if int64(cap(c.buf)) < n {
		c.buf = make([]byte, n)
	}
	return c.buf[:n]
}

func readWhole(file io.ReaderAt, b []byte, at int64) error {
	n, err := file.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), at, err)
}

// counter counts what is written behind a header, and ends when its context does.
type counter struct {
	ctx  context.Context
	w    io.Writer
	done *atomic.Int64
	skip int64 // of the header
}

// largestWrite is how much is written between two looks at the context.
const largestWrite = 4 << 20

func (c *counter) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		if err := c.ctx.Err(); err != nil {
			return total, err
		}
		n, err := c.w.Write(p[:min(len(p), largestWrite)])
		total, p = total+n, p[n:]
		header := min(c.skip, int64(n))
		c.skip -= header
		c.done.Add(int64(n) - header)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
