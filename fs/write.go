// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What changes the tree. Entries that do not say that they can be changed come from a
// source: EROFS. Links, symlinks and devices cannot be made anywhere: EPERM.

// creator finds a folder in which names can be made.
func (b *bridge) creator(id uint64) (Creator, *node, fuse.Status) {
	n, e, ok := b.table.get(id)
	if !ok {
		return nil, nil, fuse.Status(syscall.ESTALE)
	}
	c, ok := e.(Creator)
	if !ok {
		return nil, n, fuse.EROFS
	}
	return c, n, fuse.OK
}

// found answers with the entry behind a name that was just made.
func (b *bridge) found(ctx context.Context, parent uint64, name string, e Entry, out *fuse.EntryOut) (*node, error) {
	a, err := e.Attr(ctx)
	if err != nil {
		return nil, err
	}
	n := b.table.look(parent, name, e)
	b.table.show(n, a)
	out.NodeId = n.id
	out.SetEntryTimeout(entryTimeout)
	out.SetAttrTimeout(a.timeout())
	fillAttr(&out.Attr, n, a)
	return n, nil
}

// Create makes a file and opens it.
func (b *bridge) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	b.count(opCreate)
	c, parent, s := b.creator(in.NodeId)
	if !s.Ok() {
		return s
	}
	ctx := request(cancel, &in.InHeader)
	e, content, err := c.Create(ctx, caller(&in.InHeader), name, in.Mode&0o7777)
	if err != nil {
		return b.fail("create "+name, parent, err)
	}
	n, err := b.found(ctx, in.NodeId, name, e, &out.EntryOut)
	if err != nil {
		content.Close()
		return b.fail("create "+name, parent, err)
	}
	b.attach(n, content, &out.OpenOut)
	out.Fh = b.handles.add(&handle{node: n, content: content})
	return fuse.OK
}

// openWriter opens a file for writing. The kernel would open the backing with the
// client's flags and the daemon's rights: a writer is refused here or nowhere.
func (b *bridge) openWriter(ctx context.Context, in *fuse.OpenIn, n *node, f File) (Content, fuse.Status) {
	w, ok := f.(Writable)
	if !ok {
		return nil, fuse.EROFS
	}
	c, err := w.OpenWriter(ctx, caller(&in.InHeader), in.Flags&syscall.O_TRUNC != 0)
	if err != nil {
		return nil, b.fail("open for writing", n, err)
	}
	return c, fuse.OK
}

// Mkdir makes a folder.
func (b *bridge) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	c, parent, s := b.creator(in.NodeId)
	if !s.Ok() {
		return s
	}
	ctx := request(cancel, &in.InHeader)
	e, err := c.Mkdir(ctx, caller(&in.InHeader), name, in.Mode&0o7777)
	if err == nil {
		_, err = b.found(ctx, in.NodeId, name, e, out)
	}
	if err != nil {
		return b.fail("mkdir "+name, parent, err)
	}
	return fuse.OK
}

// Unlink takes a file away.
func (b *bridge) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return b.remove(cancel, in, name, false)
}

// Rmdir takes an empty folder away.
func (b *bridge) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return b.remove(cancel, in, name, true)
}

func (b *bridge) remove(cancel <-chan struct{}, in *fuse.InHeader, name string, folder bool) fuse.Status {
	c, parent, s := b.creator(in.NodeId)
	if !s.Ok() {
		return s
	}
	if err := c.Remove(request(cancel, in), caller(in), name, folder); err != nil {
		return b.fail("remove "+name, parent, err)
	}
	return fuse.OK
}

// Rename moves a name. Names are not exchanged.
func (b *bridge) Rename(cancel <-chan struct{}, in *fuse.RenameIn, name, newName string) fuse.Status {
	c, parent, s := b.creator(in.NodeId)
	if !s.Ok() {
		return s
	}
	_, to, ok := b.table.get(in.Newdir)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	folder, ok := to.(Folder)
	if !ok {
		return fuse.ENOTDIR
	}
	if in.Flags&^unix.RENAME_NOREPLACE != 0 {
		return fuse.EINVAL
	}
	exclusive := in.Flags&unix.RENAME_NOREPLACE != 0
	err := c.Rename(request(cancel, &in.InHeader), caller(&in.InHeader), name, folder, newName, exclusive)
	if err != nil {
		return b.fail("rename "+name, parent, err)
	}
	b.table.rename(in.NodeId, name, in.Newdir, newName)
	return fuse.OK
}

// SetAttr changes a size, permissions, owners and times.
func (b *bridge) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n, e, ok := b.table.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	w, ok := e.(Changeable)
	if !ok {
		return fuse.EROFS
	}
	ctx := request(cancel, &in.InHeader)
	if err := w.Change(ctx, caller(&in.InHeader), changes(in)); err != nil {
		return b.fail("setattr", n, err)
	}
	a, err := w.Attr(ctx)
	if err != nil {
		return b.fail("setattr", n, err)
	}
	out.SetTimeout(a.timeout())
	fillAttr(&out.Attr, n, a)
	return fuse.OK
}

func changes(in *fuse.SetAttrIn) Changes {
	var c Changes
	if size, ok := in.GetSize(); ok {
		c.Size = &size
		_, c.Open = in.GetFh()
	}
	if mode, ok := in.GetMode(); ok {
		mode &= 0o7777
		c.Mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		c.Uid = &uid
	}
	if gid, ok := in.GetGID(); ok {
		c.Gid = &gid
	}
	set := func(to **time.Time, t time.Time, ok bool) {
		if ok {
			*to = &t
		}
	}
	t, ok := in.GetATime()
	set(&c.Atime, t, ok)
	t, ok = in.GetMTime()
	set(&c.Mtime, t, ok)
	return c
}

// Write stores bytes in a file that is open for writing.
func (b *bridge) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	b.count(opWrite)
	h, ok := b.handles.get(in.Fh)
	if !ok {
		return 0, fuse.EBADF
	}
	w, ok := h.content.(Writer)
	if !ok {
		return 0, fuse.EBADF
	}
	n, err := w.WriteAt(data, int64(in.Offset))
	if err != nil && n == 0 {
		return 0, b.fail("write", h.node, err)
	}
	return uint32(n), fuse.OK
}

// Fallocate takes room ahead. Holes are refused: they would show zeros to a reader.
func (b *bridge) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h, ok := b.handles.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	w, ok := h.content.(Writer)
	switch {
	case !ok:
		return fuse.EBADF
	case in.Mode&^unix.FALLOC_FL_KEEP_SIZE != 0:
		return fuse.EPERM
	}
	keep := in.Mode&unix.FALLOC_FL_KEEP_SIZE != 0
	if err := w.Allocate(request(cancel, &in.InHeader), int64(in.Offset), int64(in.Length), keep); err != nil {
		return b.fail("fallocate", h.node, err)
	}
	return fuse.OK
}

// Mknod refuses everything: files are made by Create.
func (b *bridge) Mknod(_ <-chan struct{}, in *fuse.MknodIn, _ string, _ *fuse.EntryOut) fuse.Status {
	if kind := in.Mode & syscall.S_IFMT; kind == syscall.S_IFREG || kind == 0 {
		return fuse.EROFS
	}
	return fuse.EPERM
}

// Tmpfile is refused: who wants an unnamed file has a name that begins with a dot.
func (b *bridge) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, _ *fuse.CreateOut) fuse.Status {
	if _, _, s := b.creator(in.NodeId); !s.Ok() {
		return s
	}
	return fuse.Status(syscall.EOPNOTSUPP)
}

// Link is refused for good.
func (b *bridge) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Symlink is refused for good.
func (b *bridge) Symlink(<-chan struct{}, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Readlink has nothing to read: there are no symlinks.
func (b *bridge) Readlink(<-chan struct{}, *fuse.InHeader) ([]byte, fuse.Status) {
	return nil, fuse.EINVAL
}
