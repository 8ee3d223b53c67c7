// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/tensors"
)

// index makes the index.json of a checkpoint; of a model without a primary one
// when cp is nil: it lists no tensors.
func (f *tensorsFolder) index(ctx context.Context, cp *catalog.Checkpoint) (fs.Entry, error) {
	i := &indexFile{model: f.model, as: f.as, cp: cp}
	ix, err := i.indexed(ctx)
	if err != nil {
		return nil, err
	}
	i.gen = ix.Hash()
	return i, nil
}

// indexFile is index.json for one generation of a checkpoint. Its text is made
// when it is opened and belongs to the handle; it has no blocks.
type indexFile struct {
	model *catalog.Model
	as    variant
	cp    *catalog.Checkpoint
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

// write makes the text.
func (i *indexFile) write(ctx context.Context, w io.Writer) error {
	ix, err := i.indexed(ctx)
	if err != nil {
		return err
	}
	if ix.Hash() != i.gen {
		return fs.ErrStale
	}
	var text string
	if ix.Err != nil {
		text = ix.Err.Error()
	}
	path := func(n int) string { return ix.Tree.Path(n) }
	if err := tensors.WriteIndex(w, i.model.Name()+i.as.suffix(), ix.Generation, i.as.index(ix.Index), path, text); err != nil {
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
		var n counter
		if err := i.write(ctx, &n); err != nil {
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
	ix, err := i.indexed(ctx)
	if err != nil {
		return fs.Attr{}, err
	}
	if ix.Hash() != i.gen {
		return fs.Attr{}, fs.ErrStale
	}
	st, err := i.cp.Stat(ctx)
	if err != nil {
		return fs.Attr{}, fail(err)
	}
	return shown(st), nil
}

func (i *indexFile) Open(ctx context.Context, _ fs.Caller, _ bool) (fs.Content, error) {
	var b bytes.Buffer
	b.Grow(int(i.size.Load()))
	if err := i.write(ctx, &b); err != nil {
		return nil, err
	}
	i.size.Store(int64(b.Len()))
	return text{bytes.NewReader(b.Bytes())}, nil
}

// counter measures what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// text is content that lies in the daemon's memory while it is open.
type text struct{ *bytes.Reader }

func (text) Close() {}
