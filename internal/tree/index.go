// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/tensors"
)

// form writes an index in one of its forms.
type form func(w io.Writer, model, generation string, ix *tensors.Index, path func(ordinal int) string, indexError string) error

// index makes the index of a checkpoint; of a model without a primary one when cp
// is nil: it lists no tensors.
func (f *tensorsFolder) index(ctx context.Context, cp *catalog.Checkpoint, form form) (fs.Entry, error) {
	i := &indexFile{model: f.model, as: f.as, cp: cp, form: form}
	ix, err := i.indexed(ctx)
	if err != nil {
		return nil, err
	}
	i.gen = ix.Hash()
	return i, nil
}

// indexFile is index.json, or %index, for one generation of a checkpoint. Its text is made when
// a handle is first read, and belongs to that: the kernel keeps the pages of a
// generation, so that most opens need none. It has no blocks.
type indexFile struct {
	model *catalog.Model
	as    variant
	cp    *catalog.Checkpoint
	form  form
	gen   uint64
	size  atomic.Int64 // of the text, once it was made
}

var _ fs.File = (*indexFile)(nil)

func (i *indexFile) ModelName() string { return i.model.Name() }

func (i *indexFile) Generation() uint64 { return i.gen }

// nothing is the index of a model without a primary checkpoint.
var nothing = &catalog.Indexed{Index: &tensors.Index{}}

func (i *indexFile) indexed(ctx context.Context) (*catalog.Indexed, error) {
	if i.cp == nil {
		return nothing, nil
	}
	ix, err := i.cp.Index(ctx)
	return ix, fail(err)
}

// current is what the text is made of, if it still is of this generation.
func (i *indexFile) current(ctx context.Context) (*catalog.Indexed, error) {
	ix, err := i.indexed(ctx)
	if err == nil && ix.Hash() != i.gen {
		return nil, fs.ErrStale
	}
	return ix, err
}

// write makes the text.
func (i *indexFile) write(w io.Writer, ix *catalog.Indexed) error {
	var text string
	if ix.Err != nil {
		text = ix.Err.Error()
	}
	path := func(n int) string { return ix.Tree.Path(n) }
	if err := i.form(w, i.model.Name()+i.as.suffix(), ix.Generation, i.as.index(ix.Index), path, text); err != nil {
		return fmt.Errorf("index of %s: %w", i.model.Name(), err)
	}
	return nil
}

func (i *indexFile) Attr(ctx context.Context) (fs.Attr, error) {
	st, err := i.stat(ctx)
	if err != nil {
		return fs.Attr{}, err
	}
	if i.size.Load() == 0 {
		ix, err := i.current(ctx)
		if err != nil {
			return fs.Attr{}, err
		}
		var n counter
		if err := i.write(&n, ix); err != nil {
			return fs.Attr{}, err
		}
		i.size.Store(int64(n))
	}
	st.Size = uint64(i.size.Load())
	return st, nil
}

func (i *indexFile) stat(ctx context.Context) (fs.Attr, error) {
	if i.cp == nil {
		st, err := i.model.Folder(ctx)
		if err != nil {
			return fs.Attr{}, fail(err)
		}
		a := shown(st)
		a.Mode &= 0o444 // a folder's bits, without the search permission
		return a, nil
	}
	if _, err := i.current(ctx); err != nil {
		return fs.Attr{}, err
	}
	st, err := i.cp.Stat(ctx)
	if err != nil {
		return fs.Attr{}, fail(err)
	}
	return shown(st), nil
}

func (i *indexFile) Open(ctx context.Context, _ fs.Caller, _ bool) (fs.Content, error) {
	ix, err := i.current(ctx)
	if err != nil {
		return nil, err
	}
	return indexText{sync.OnceValues(func() ([]byte, error) {
		var b bytes.Buffer
		b.Grow(int(i.size.Load()))
		err := i.write(&b, ix)
		return b.Bytes(), err
	})}, nil
}

// counter measures what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// indexText is content that is made at its first read, and lies in the daemon's
// memory from then on while it is open.
type indexText struct{ make func() ([]byte, error) }

func (t indexText) ReadAt(p []byte, off int64) (int, error) {
	b, err := t.make()
	if err != nil {
		return 0, err
	}
	return bytes.NewReader(b).ReadAt(p, off)
}

func (indexText) Close() {}
