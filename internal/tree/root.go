// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"

	"github.com/modelfs/modelfs/fs"
)

// root is the mount's top folder.
type root struct{ t *Tree }

var (
	_ fs.Folder   = (*root)(nil)
	_ fs.Statfser = (*root)(nil)
)

func (r *root) Attr(context.Context) (fs.Attr, error) { return r.t.own(0o755), nil }

func (r *root) Generation() uint64 { return 0 }

func (r *root) Lookup(_ context.Context, name string) (fs.Entry, error) {
	switch name {
	case "models":
		return &namespace{t: r.t, side: modelSide}, nil
	case "tensors":
		return &namespace{t: r.t, side: tensorSide}, nil
	case ".modelfs":
		return &reportFolder{r.t}, nil
	}
	return nil, fs.ErrNotExist
}

func (r *root) OpenDir(context.Context, fs.Caller, bool) (fs.DirHandle, error) {
	return fixed{{Name: "models", Folder: true}, {Name: "tensors", Folder: true}, {Name: ".modelfs", Folder: true}}, nil
}

func (r *root) Statfs(context.Context) fs.Space { return r.t.reports.Space() }

// fixed is a listing that is known when the folder is opened.
type fixed []fs.DirEntry

func (f fixed) List(context.Context) ([]fs.DirEntry, error) { return f, nil }

func (f fixed) Close() {}

// lister is a listing that is made when it is read.
type lister func(ctx context.Context) ([]fs.DirEntry, error)

func (l lister) List(ctx context.Context) ([]fs.DirEntry, error) { return l(ctx) }

func (l lister) Close() {}
