// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/scratch"
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
	case "sessions":
		return r.t.areaRoot(r.t.areas.Sessions)
	case "objects":
		return r.t.areaRoot(r.t.areas.Objects)
	case ".modelfs":
		return &reportFolder{r.t}, nil
	}
	return nil, fs.ErrNotExist
}

func (r *root) OpenDir(context.Context, fs.Caller, bool) (fs.DirHandle, error) {
	out := fixed{{Name: "models", Folder: true}, {Name: "tensors", Folder: true}}
	if r.t.areas.Sessions != nil {
		out = append(out, fs.DirEntry{Name: "sessions", Folder: true}, fs.DirEntry{Name: "objects", Folder: true})
	}
	return append(out, fs.DirEntry{Name: ".modelfs", Folder: true}), nil
}

func (t *Tree) areaRoot(a *scratch.Area) (fs.Entry, error) {
	if a == nil {
		return nil, fs.ErrNotExist
	}
	return &scratchFolder{t: t, area: a, node: a.Root()}, nil
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
