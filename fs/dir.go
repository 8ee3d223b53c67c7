// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// dirHandle is one open folder and its listing, which is made at the first read
// and again after a rewind. Reads of one handle come one at a time, unless a
// client shares it.
type dirHandle struct {
	backend DirHandle

	mu     sync.Mutex
	listed bool
	names  []DirEntry
}

// OpenDir does not answer with FOPEN_CACHE_DIR: a second listing would not
// arrive here, and a folder that is listed would look like a lease.
func (b *bridge) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	b.count(opOpenDir)
	n, e, ok := b.table.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	f, ok := e.(Folder)
	if !ok {
		return fuse.ENOTDIR
	}
	d, err := f.OpenDir(request(cancel, &in.InHeader), caller(&in.InHeader), in.Flags&syscall.O_NONBLOCK != 0)
	if err != nil {
		return b.fail("opendir", n, err)
	}
	out.Fh = b.handles.add(&handle{node: n, dir: &dirHandle{backend: d}})
	return fuse.OK
}

// ReadDir fills the buffer with names from an offset on: 0 and 1 are "." and
// "..", the listing follows.
func (b *bridge) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	b.count(opReadDir)
	h, ok := b.handles.get(in.Fh)
	if !ok || h.dir == nil {
		return fuse.EBADF
	}
	d := h.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.listed || in.Offset == 0 {
		names, err := d.backend.List(request(cancel, &in.InHeader))
		if err != nil {
			return b.fail("readdir", h.node, err)
		}
		d.names, d.listed = names, true
	}
	for at := in.Offset; at < uint64(len(d.names))+2; at++ {
		e := fuse.DirEntry{Mode: syscall.S_IFDIR, Off: at + 1}
		switch at {
		case 0:
			e.Name, e.Ino = ".", h.node.id
		case 1:
			e.Name = ".."
		default:
			e.Name = d.names[at-2].Name
			if !d.names[at-2].Folder {
				e.Mode = syscall.S_IFREG
			}
		}
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// ReleaseDir gives a folder's handle back.
func (b *bridge) ReleaseDir(in *fuse.ReleaseIn) {
	b.count(opReleaseDir)
	if h, ok := b.handles.take(in.Fh); ok && h.dir != nil {
		h.dir.backend.Close()
	}
}

// FsyncDir returns at once: the kernel holds the folder's lock meanwhile.
func (b *bridge) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }
