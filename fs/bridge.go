// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// How long the kernel may believe what it was told. Names live longer than
// attributes: an open of an outdated one is answered with ESTALE, and the kernel
// looks again.
const (
	attrTimeout     = time.Second
	constantTimeout = time.Hour
	entryTimeout    = 30 * time.Second
)

// blockSize is what statfs counts in.
const blockSize = 4096

// backings is where backings are registered: the FUSE connection.
type backings interface {
	RegisterBackingFd(*fuse.BackingMap) (int32, syscall.Errno)
	UnregisterBackingFd(int32) syscall.Errno
}

// bridge answers the kernel's requests. The methods that it does not define
// answer ENOSYS, which the kernel takes well for all of them.
type bridge struct {
	fuse.RawFileSystem

	table       *table
	handles     handles
	kernel      backings
	passthrough bool
	log         *slog.Logger

	requests [ops]atomic.Int64
	failures atomic.Int64 // of backing registrations
	panics   atomic.Int64
	unkept   atomic.Int64 // ids that are not in the journal
}

func newBridge(ids *journal, root Folder, log *slog.Logger) *bridge {
	b := &bridge{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		handles:       handles{open: make(map[uint64]*handle)},
		log:           log,
	}
	b.table = newTable(ids, root, func(err error) {
		if b.unkept.Add(1) == 1 {
			b.log.Warn("a later process cannot resolve every node", "error", err)
		}
	})
	return b
}

func (b *bridge) String() string { return "modelfs" }

// request is the context of a request: it ends when the caller is interrupted.
func request(cancel <-chan struct{}, in *fuse.InHeader) context.Context {
	return &fuse.Context{Caller: in.Caller, Cancel: cancel}
}

func caller(in *fuse.InHeader) Caller { return Caller{Uid: in.Uid, Gid: in.Gid, Pid: in.Pid} }

// fail maps an error and logs what the caller cannot see the reason of.
func (b *bridge) fail(op string, n *node, err error) fuse.Status {
	s := status(err)
	switch syscall.Errno(s) {
	case syscall.EIO, syscall.ENOMEM:
		b.log.Warn("request failed", "op", op, "name", n.name, "error", err)
	}
	return s
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// Lookup resolves one name and counts it.
func (b *bridge) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	b.count(opLookup)
	parent, e, ok := b.table.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	f, ok := e.(Folder)
	if !ok {
		return fuse.ENOTDIR
	}
	ctx := request(cancel, in)
	child, err := f.Lookup(ctx, name)
	if err != nil {
		return b.fail("lookup "+name, parent, err)
	}
	a, err := child.Attr(ctx)
	if err != nil {
		return b.fail("lookup "+name, parent, err)
	}
	n := b.table.look(in.NodeId, name, child)
	b.table.show(n, a)
	out.NodeId = n.id
	out.SetEntryTimeout(entryTimeout)
	out.SetAttrTimeout(a.timeout())
	fillAttr(&out.Attr, n, a)
	return fuse.OK
}

// Forget takes lookups back.
func (b *bridge) Forget(id, lookups uint64) { b.table.forget(id, lookups) }

// GetAttr answers stat.
func (b *bridge) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	b.count(opGetAttr)
	n, e, ok := b.table.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	a, err := e.Attr(request(cancel, &in.InHeader))
	switch {
	case err == nil:
		b.table.show(n, a)
	case errors.Is(err, ErrStale) && n.isOpen():
		a = b.lasting(n, e) // who has it keeps it, whole
	default:
		return b.fail("getattr", n, err)
	}
	out.SetTimeout(a.timeout())
	fillAttr(&out.Attr, n, a)
	return fuse.OK
}

func (b *bridge) lasting(n *node, e Entry) Attr {
	if l, ok := e.(Lasting); ok {
		if a, ok := l.Last(); ok {
			return a
		}
	}
	return b.table.shown(n)
}

// timeout is how long the kernel may go by it.
func (a Attr) timeout() time.Duration {
	if a.Constant {
		return constantTimeout
	}
	return attrTimeout
}

func fillAttr(out *fuse.Attr, n *node, a Attr) {
	out.Ino = n.id
	out.Size = a.Size
	out.Blocks = (a.Resident + 511) / 512
	out.Blksize = blockSize
	out.Owner = fuse.Owner{Uid: a.Uid, Gid: a.Gid}
	out.Mode = syscall.S_IFREG | a.Mode
	out.Nlink = 1
	if n.folder {
		out.Mode = syscall.S_IFDIR | a.Mode
		out.Nlink = 2
	}
	atime, mtime := a.Atime, a.Mtime
	out.SetTimes(&atime, &mtime, &mtime)
}

// StatFs answers df with the root's figures.
func (b *bridge) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	b.count(opStatFs)
	_, e, _ := b.table.get(fuse.FUSE_ROOT_ID)
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, 255
	if s, ok := e.(Statfser); ok {
		space := s.Statfs(request(cancel, in))
		out.Blocks = space.Total / blockSize
		out.Bfree = space.Free / blockSize
		out.Bavail = out.Bfree
		out.Files = space.Files
	}
	return fuse.OK
}

// Lseek knows no holes: all is data up to the end.
func (b *bridge) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	n, e, ok := b.table.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	a, err := e.Attr(request(cancel, &in.InHeader))
	if err != nil {
		return b.fail("lseek", n, err)
	}
	const seekData, seekHole = 3, 4
	switch {
	case in.Offset >= a.Size:
		return fuse.Status(syscall.ENXIO)
	case in.Whence == seekData:
		out.Offset = in.Offset
	case in.Whence == seekHole:
		out.Offset = a.Size
	default:
		return fuse.EINVAL
	}
	return fuse.OK
}

// Flush and Fsync have nothing to write; FOPEN_NOFLUSH makes the first rare.
func (b *bridge) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Fsync returns at once.
func (b *bridge) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// Ioctl knows none.
func (b *bridge) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(syscall.ENOTTY)
}

// panicked turns a panic in a request into EIO.
func (b *bridge) panicked(p any, stack []byte) fuse.Status {
	b.panics.Add(1)
	b.log.Error("panic in a request", "panic", p, "stack", string(stack))
	return fuse.EIO
}
