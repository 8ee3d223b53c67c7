// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/internal/scratch"
)

// side says which half of the tree a folder of names is in: both hold the same
// models under the same names.
type side int

const (
	modelSide side = iota
	tensorSide
)

// namespace is models/ or tensors/, or a folder of names below: the "org" of
// "org/name".
type namespace struct {
	t      *Tree
	side   side
	prefix string // "" at the top, else "org"
}

var (
	_ fs.Creator    = (*namespace)(nil)
	_ fs.Attributed = (*namespace)(nil)
)

// Attr is the disk's where the folder is one of a source.
func (n *namespace) Attr(context.Context) (fs.Attr, error) {
	switch {
	case n.prefix != "":
		st, ok, err := n.t.models.Catalog.Above(n.prefix)
		if err != nil {
			return fs.Attr{}, fail(err)
		}
		if ok {
			return folderAttr(shown(st)), nil
		}
		a := n.t.own(0o755)
		a.Constant = false // a source may come to have it
		return a, nil
	case n.side == modelSide && n.t.shared:
		return n.t.own(0o1777), nil
	}
	return n.t.own(0o755), nil
}

func (n *namespace) Generation() uint64 { return 0 }

func (n *namespace) Lookup(ctx context.Context, name string) (fs.Entry, error) {
	child, ok := n.t.models.Catalog.Child(ctx, n.prefix, name)
	if n.publishes() && (!ok || !ofSource(child)) {
		if node, ok := n.t.areas.Models.Root().Lookup(name); ok {
			return &scratchFolder{t: n.t, area: n.t.areas.Models, node: node}, nil
		}
	}
	if ok {
		return n.entry(child), nil
	}
	if base, v, ok := cutVariant(name); ok && n.side == tensorSide {
		if child, ok := n.t.models.Catalog.Child(ctx, n.prefix, base); ok && child.Model != nil {
			return &tensorsFolder{t: n.t, model: child.Model, as: v}, nil
		}
	}
	return nil, fs.ErrNotExist
}

func (n *namespace) entry(c catalog.Child) fs.Entry {
	switch {
	case c.Model == nil:
		return &namespace{t: n.t, side: n.side, prefix: join(n.prefix, c.Name)}
	case n.side == tensorSide:
		return &tensorsFolder{t: n.t, model: c.Model}
	}
	return &modelFolder{t: n.t, model: c.Model}
}

func (n *namespace) OpenDir(context.Context, fs.Caller, bool) (fs.DirHandle, error) {
	return lister(func(ctx context.Context) ([]fs.DirEntry, error) {
		children := n.t.models.Catalog.Children(ctx, n.prefix)
		out := make([]fs.DirEntry, 0, len(children))
		seen := make(map[string]bool)
		if n.publishes() {
			for _, node := range n.t.areas.Models.Root().List() {
				seen[node.Name()] = true
				out = append(out, fs.DirEntry{Name: node.Name(), Folder: true})
			}
		}
		for _, c := range children {
			if seen[c.Name] {
				continue
			}
			out = append(out, fs.DirEntry{Name: c.Name, Folder: true})
			if c.Model != nil && n.side == tensorSide {
				out = append(out, n.t.asked.entries(c.Model.Name(), c.Name)...)
			}
		}
		return out, nil
	}), nil
}

// evictAttr frees models: on models/ the value says which ("idle", "all"), on a
// model's folder it is "1". It is never listed.
//
// The kernel lets only those set the attributes of a model's folder who may write it on
// disk. The mount's owner, who may not be one of them, sets them on models/: the value,
// ":" and the model's name.
const evictAttr = "user.modelfs.evict"

func (n *namespace) Xattr(context.Context, fs.Caller, string) ([]byte, error) {
	return nil, fs.ErrNoAttr
}

func (n *namespace) ListXattr(context.Context) ([]string, error) { return nil, nil }

func (n *namespace) SetXattr(ctx context.Context, caller fs.Caller, name string, value []byte) error {
	if n.side != modelSide || n.prefix != "" {
		return fs.ErrPermission
	}
	if caller.Uid != 0 && caller.Uid != n.t.uid {
		return fs.ErrAccess // models/ may be writable by all, other people's models are not
	}
	if of, model, ok := strings.Cut(string(value), ":"); ok {
		m, there := n.t.models.Catalog.Lookup(ctx, model)
		if !there {
			return fs.ErrNotExist
		}
		return (&modelFolder{t: n.t, model: m}).SetXattr(ctx, caller, name, []byte(of))
	}
	if name != evictAttr {
		return fs.ErrPermission
	}
	switch string(value) {
	case "idle":
		n.t.models.EvictIdle()
		return nil
	case "all":
		if _, busy := n.t.models.EvictIdle(); busy > 0 {
			return errors.Join(fs.ErrBusy, errors.New("some models are in use"))
		}
		return nil
	}
	return fs.ErrInvalid
}

// join puts a path together below a prefix that may be empty.
func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "/" + name
}

// publishes says whether this is models/ itself, where processes put models.
func (n *namespace) publishes() bool {
	return n.side == modelSide && n.prefix == "" && n.t.areas.Models != nil
}

// ofSource says whether a name is a source's: a model that has an origin. Published
// ones are shown as they are written.
func ofSource(c catalog.Child) bool { return c.Model != nil && !c.Model.Published() }

func (n *namespace) Create(context.Context, fs.Caller, string, uint32) (fs.File, fs.Content, error) {
	if n.publishes() {
		return nil, nil, errors.Join(fs.ErrPermission, errors.New("a model is a folder: mkdir it first"))
	}
	return nil, nil, fs.ErrReadOnly
}

// open is the area's root where a name may be made or taken away: in models/, and no
// source's.
func (n *namespace) open(ctx context.Context, name string) (*scratch.Node, error) {
	if !n.publishes() {
		return nil, fs.ErrReadOnly
	}
	if c, ok := n.t.models.Catalog.Child(ctx, "", name); ok && n.hides(c) {
		return nil, fs.ErrReadOnly
	}
	return n.t.areas.Models.Root(), nil
}

// hides says whether a name of the catalog stands before a published one: a source's
// model, or a folder of names of which none is published.
func (n *namespace) hides(c catalog.Child) bool {
	if c.Model != nil {
		return ofSource(c)
	}
	_, published := n.t.areas.Models.Root().Lookup(c.Name)
	return !published
}

func (n *namespace) Mkdir(ctx context.Context, c fs.Caller, name string, mode uint32) (fs.Folder, error) {
	root, err := n.open(ctx, name)
	if err != nil {
		return nil, err
	}
	node, err := root.Mkdir(name, os.FileMode(mode), ownerOf(c))
	if err != nil {
		return nil, fail(err)
	}
	return &scratchFolder{t: n.t, area: n.t.areas.Models, node: node}, nil
}

func (n *namespace) Remove(ctx context.Context, _ fs.Caller, name string, folder bool) error {
	root, err := n.open(ctx, name)
	if err != nil {
		return err
	}
	return fail(root.Remove(name, folder))
}

func (n *namespace) Rename(ctx context.Context, _ fs.Caller, name string, to fs.Folder, newName string, exclusive bool) error {
	root, err := n.open(ctx, name)
	if err != nil {
		return err
	}
	target, ok := n.t.scratchNode(to)
	if !ok {
		return fs.ErrElsewhere
	}
	if target == root {
		if _, err := n.open(ctx, newName); err != nil {
			return err
		}
	}
	return fail(root.Rename(name, target, newName, exclusive))
}
