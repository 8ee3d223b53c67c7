// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/internal/scratch"
)

// Areas are where processes write: published models, sessions, shared objects.
type Areas struct {
	Models, Sessions, Objects *scratch.Area
}

// scratchFolder is a folder that a process has made: a model that is being
// published, a session, a user's objects; and the roots of the latter two.
type scratchFolder struct {
	t    *Tree
	area *scratch.Area
	node *scratch.Node
}

var (
	_ fs.Creator    = (*scratchFolder)(nil)
	_ fs.Changeable = (*scratchFolder)(nil)
	_ fs.Attributed = (*scratchFolder)(nil)
	_ Owned         = (*scratchFolder)(nil)
)

func ownerOf(c fs.Caller) scratch.Owner { return scratch.Owner{Uid: c.Uid, Gid: c.Gid} }

// scratchAttr is what the tmpfs has of a node.
func scratchAttr(n *scratch.Node) (fs.Attr, error) {
	st, err := n.Stat()
	if err != nil {
		return fs.Attr{}, fail(err)
	}
	return statAttr(n, st), nil
}

func statAttr(n *scratch.Node, st unix.Stat_t) fs.Attr {
	a := fs.Attr{
		Mode: st.Mode & 0o7777, Uid: st.Uid, Gid: st.Gid,
		Size: uint64(st.Size), Resident: uint64(st.Blocks) * 512,
		Mtime: time.Unix(st.Mtim.Unix()), Atime: time.Unix(st.Atim.Unix()),
	}
	if n.IsFolder() {
		a.Size, a.Resident = 0, 0
	}
	return a
}

func (f *scratchFolder) Attr(context.Context) (fs.Attr, error) {
	if f.node != f.area.Root() {
		return scratchAttr(f.node)
	}
	mode := uint32(0o755)
	if f.t.shared && f.area == f.t.areas.Sessions {
		mode = 0o1777
	}
	return f.t.own(mode), nil
}

// Generation is another when a folder is made anew: the kernel takes a folder that was
// removed while somebody had it open for dead for ever.
func (f *scratchFolder) Generation() uint64 { return f.node.ID() }

func (f *scratchFolder) entry(n *scratch.Node) fs.Entry {
	if n.IsFolder() {
		return &scratchFolder{t: f.t, area: f.area, node: n}
	}
	return &scratchFile{t: f.t, area: f.area, node: n}
}

func (f *scratchFolder) Lookup(ctx context.Context, name string) (fs.Entry, error) {
	if f.area == f.t.areas.Objects && f.node == f.area.Root() {
		return f.home(ctx, name)
	}
	n, ok := f.node.Lookup(name)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return f.entry(n), nil
}

// home finds a user's objects, and makes the folder when he looks himself.
func (f *scratchFolder) home(ctx context.Context, name string) (fs.Entry, error) {
	if n, ok := f.node.Lookup(name); ok {
		return f.entry(n), nil
	}
	who := ownerOf(fs.CallerOf(ctx))
	if name != decimal(who.Uid) {
		return nil, fs.ErrNotExist
	}
	n, err := f.area.Home(who)
	if err != nil {
		return nil, fail(err)
	}
	return f.entry(n), nil
}

func decimal(n uint32) string { return string(number(int64(n))) }

func (f *scratchFolder) list(context.Context) ([]fs.DirEntry, error) {
	var out []fs.DirEntry
	for _, n := range f.node.List() {
		out = append(out, fs.DirEntry{Name: n.Name(), Folder: n.IsFolder()})
	}
	return out, nil
}

// OpenDir of a published model's folder is a lease on it, as of any model's.
func (f *scratchFolder) OpenDir(ctx context.Context, c fs.Caller, nonblock bool) (fs.DirHandle, error) {
	h := &folderHandle{list: f.list}
	if m, ok := f.model(ctx); ok && !nonblock {
		h.lease(m, accessOf(c))
	}
	return h, nil
}

// model is the model that the folder is, if it is one by now.
func (f *scratchFolder) model(ctx context.Context) (*modelFolder, bool) {
	if f.area != f.t.areas.Models {
		return nil, false
	}
	p, ok := f.node.Path()
	if !ok {
		return nil, false
	}
	m, ok := f.t.models.Catalog.Lookup(ctx, p)
	if !ok || !m.Published() {
		return nil, false
	}
	return &modelFolder{t: f.t, model: m}, true
}

// ModelName is that of a published model; "" is nobody's.
func (f *scratchFolder) ModelName() string {
	if m, ok := f.model(context.Background()); ok {
		return m.ModelName()
	}
	return ""
}

func (f *scratchFolder) Create(_ context.Context, c fs.Caller, name string, mode uint32) (fs.File, fs.Content, error) {
	n, h, err := f.node.Create(name, os.FileMode(mode), ownerOf(c))
	if err != nil {
		return nil, nil, fail(err)
	}
	return &scratchFile{t: f.t, area: f.area, node: n}, writing{h}, nil
}

func (f *scratchFolder) Mkdir(_ context.Context, c fs.Caller, name string, mode uint32) (fs.Folder, error) {
	n, err := f.node.Mkdir(name, os.FileMode(mode), ownerOf(c))
	if err != nil {
		return nil, fail(err)
	}
	return &scratchFolder{t: f.t, area: f.area, node: n}, nil
}

func (f *scratchFolder) Remove(_ context.Context, _ fs.Caller, name string, folder bool) error {
	return fail(f.node.Remove(name, folder))
}

func (f *scratchFolder) Rename(_ context.Context, _ fs.Caller, name string, to fs.Folder, newName string, exclusive bool) error {
	target, ok := f.t.scratchNode(to)
	if !ok {
		return fs.ErrElsewhere
	}
	return fail(f.node.Rename(name, target, newName, exclusive))
}

// scratchNode is the node behind a folder in which processes write.
func (t *Tree) scratchNode(f fs.Folder) (*scratch.Node, bool) {
	switch f := f.(type) {
	case *scratchFolder:
		return f.node, true
	case *namespace:
		if f.publishes() {
			return t.areas.Models.Root(), true
		}
	}
	return nil, false
}

func (f *scratchFolder) Change(ctx context.Context, _ fs.Caller, c fs.Changes) error {
	if f.node == f.area.Root() {
		return fs.ErrPermission
	}
	return change(ctx, f.node, c)
}

func change(ctx context.Context, n *scratch.Node, c fs.Changes) error {
	if c.Size != nil {
		if err := n.Resize(ctx, int64(*c.Size), c.Open); err != nil {
			return fail(err)
		}
	}
	if c.Mode != nil {
		if err := n.Chmod(*c.Mode); err != nil {
			return fail(err)
		}
	}
	if c.Uid != nil || c.Gid != nil {
		uid, gid := -1, -1
		if c.Uid != nil {
			uid = int(*c.Uid)
		}
		if c.Gid != nil {
			gid = int(*c.Gid)
		}
		if err := n.Chown(uid, gid); err != nil {
			return fail(err)
		}
	}
	if c.Atime != nil || c.Mtime != nil {
		return fail(n.Chtimes([2]unix.Timespec{timespec(c.Atime), timespec(c.Mtime)}))
	}
	return nil
}

func timespec(t *time.Time) unix.Timespec {
	if t == nil {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.UnixNano())
}

// scratchFile is a file that a process has made.
type scratchFile struct {
	t    *Tree
	area *scratch.Area
	node *scratch.Node
}

var (
	_ fs.Writable   = (*scratchFile)(nil)
	_ fs.Changeable = (*scratchFile)(nil)
	_ fs.Attributed = (*scratchFile)(nil)
	_ fs.Lasting    = (*scratchFile)(nil)
	_ fs.Mappable   = writing{}
	_ fs.Writer     = writing{}
	_ Backed        = (*scratchFile)(nil)
)

func (f *scratchFile) Attr(context.Context) (fs.Attr, error) { return scratchAttr(f.node) }

// Last is what the file was when it lost its name.
func (f *scratchFile) Last() (fs.Attr, bool) {
	st, ok := f.node.Last()
	return statAttr(f.node, st), ok
}

func (f *scratchFile) Generation() uint64 { return f.node.ID() }

func (f *scratchFile) Open(ctx context.Context, _ fs.Caller, nonblock bool) (fs.Content, error) {
	c, err := f.node.Open(ctx, nonblock)
	if err != nil {
		return nil, fail(err)
	}
	return c, nil
}

func (f *scratchFile) OpenWriter(_ context.Context, _ fs.Caller, trunc bool) (fs.Content, error) {
	h, err := f.node.OpenWriter(trunc)
	if err != nil {
		return nil, fail(err)
	}
	return writing{h}, nil
}

// writing is a handle that writes, with errors that fs knows.
type writing struct{ *scratch.Handle }

func (w writing) WriteAt(p []byte, off int64) (int, error) {
	n, err := w.Handle.WriteAt(p, off)
	return n, fail(err)
}

func (w writing) Allocate(ctx context.Context, off, n int64, keep bool) error {
	return fail(w.Handle.Allocate(ctx, off, n, keep))
}

func (f *scratchFile) Change(ctx context.Context, _ fs.Caller, c fs.Changes) error {
	return change(ctx, f.node, c)
}

// ModelName is the published model that the file belongs to; "" is nobody's.
func (f *scratchFile) ModelName() string {
	p, ok := f.node.Path()
	if !ok || f.area != f.t.areas.Models {
		return ""
	}
	if m, ok := f.t.published(context.Background(), p); ok {
		return m.Name()
	}
	return ""
}

// Bytes is the file's size.
func (f *scratchFile) Bytes() int64 {
	st, err := f.node.Stat()
	if err != nil {
		return 0
	}
	return st.Size
}

// published finds the model that a path below models/ belongs to.
func (t *Tree) published(ctx context.Context, p string) (*catalog.Model, bool) {
	for at := strings.LastIndexByte(p, '/'); at > 0; at = strings.LastIndexByte(p[:at], '/') {
		if m, ok := t.models.Catalog.Lookup(ctx, p[:at]); ok && m.Published() {
			return m, true
		}
	}
	return nil, false
}
