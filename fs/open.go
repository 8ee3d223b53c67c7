// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// mode is how an inode's handles get their bytes.
type mode uint8

const (
	closed mode = iota
	passthrough
	cached
	direct
)

// opening is the open state of one inode.
type opening struct {
	mu      sync.Mutex
	handles int
	mode    mode
	backing int32 // the kernel's number of it, in passthrough mode
}

// isOpen says whether anybody has the inode open.
func (o *opening) isOpen() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.handles > 0
}

// handle is one open file or folder.
type handle struct {
	node    *node
	content Content // of a file
	dir     *dirHandle
}

// handles are the open ones by number.
type handles struct {
	mu   sync.Mutex
	next uint64
	open map[uint64]*handle
}

func (h *handles) add(x *handle) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	h.open[h.next] = x
	return h.next
}

func (h *handles) get(fh uint64) (*handle, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x, ok := h.open[fh]
	return x, ok
}

func (h *handles) take(fh uint64) (*handle, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x, ok := h.open[fh]
	delete(h.open, fh)
	return x, ok
}

// Open answers when the backend has the content.
func (b *bridge) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	b.count(opOpen)
	n, e, ok := b.table.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	f, ok := e.(File)
	if !ok {
		return fuse.EIO
	}
	ctx := request(cancel, &in.InHeader)
	var c Content
	var err error
	if in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY || in.Flags&syscall.O_TRUNC != 0 {
		var s fuse.Status
		if c, s = b.openWriter(ctx, in, n, f); !s.Ok() {
			return s
		}
	} else if c, err = f.Open(ctx, caller(&in.InHeader), in.Flags&syscall.O_NONBLOCK != 0); err != nil {
		return b.fail("open", n, err)
	}
	b.attach(n, c, out)
	out.Fh = b.handles.add(&handle{node: n, content: c})
	return fuse.OK
}

// attach adds a handle to an inode and says how the kernel is to serve it.
func (b *bridge) attach(n *node, c Content, out *fuse.OpenOut) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handles == 0 {
		n.mode, n.backing = b.choose(c)
	}
	n.handles++
	// Nothing is written, so a close has nothing to flush: without the flag it
	// would cost a round trip.
	out.OpenFlags = fuse.FOPEN_NOFLUSH
	switch n.mode {
	case passthrough:
		out.OpenFlags |= fuse.FOPEN_PASSTHROUGH
		out.BackingID = n.backing
		if _, ok := c.(Unsettled); ok {
			// Mappings go to the backing, write() and changes of size come here.
			out.OpenFlags |= fuse.FOPEN_DIRECT_IO
		}
	case direct:
		out.OpenFlags |= fuse.FOPEN_DIRECT_IO
	default:
		// One inode is one generation of the content: pages never are outdated.
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
}

// choose finds the mode for the first handle of an inode.
func (b *bridge) choose(c Content) (mode, int32) {
	if _, ok := c.(Stream); ok {
		return direct, 0
	}
	m, ok := c.(Mappable)
	if !ok || !b.passthrough {
		return cached, 0
	}
	fd, err := m.OpenBacking()
	if err != nil {
		b.failures.Add(1)
		b.log.Warn("no backing: served through the page cache", "error", err)
		return cached, 0
	}
	defer unix.Close(fd)
	id, errno := b.kernel.RegisterBackingFd(&fuse.BackingMap{Fd: int32(fd)})
	if errno != 0 || id <= 0 {
		b.failures.Add(1)
		return cached, 0
	}
	return passthrough, id
}

// Release gives one handle back. The backing goes before the content's
// reference, see the package comment.
func (b *bridge) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	b.count(opRelease)
	h, ok := b.handles.take(in.Fh)
	if !ok || h.content == nil {
		return
	}
	b.detach(h.node)
	h.content.Close()
}

func (b *bridge) detach(n *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handles--; n.handles > 0 {
		return
	}
	if n.mode == passthrough {
		_ = b.kernel.UnregisterBackingFd(n.backing)
	}
	n.mode, n.backing = closed, 0
}

// Read serves what the kernel does not read itself.
func (b *bridge) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	b.count(opRead)
	h, ok := b.handles.get(in.Fh)
	if !ok || h.content == nil {
		return nil, fuse.EBADF
	}
	n, err := h.content.ReadAt(buf[:min(int(in.Size), len(buf))], int64(in.Offset))
	if n > 0 || err == nil || isEOF(err) {
		return fuse.ReadResultData(buf[:n]), fuse.OK
	}
	return nil, b.fail("read", h.node, err)
}
