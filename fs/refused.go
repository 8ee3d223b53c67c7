// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// What the kernel may ask for and nobody gets: what lies in the mount comes from
// a source. Models are EROFS; links, symlinks and devices cannot be made at all,
// EPERM.

// SetAttr refuses chmod, chown, truncate and touch.
func (b *bridge) SetAttr(<-chan struct{}, *fuse.SetAttrIn, *fuse.AttrOut) fuse.Status {
	return fuse.EROFS
}

// Mknod refuses files as Create does, and everything else for good.
func (b *bridge) Mknod(_ <-chan struct{}, in *fuse.MknodIn, _ string, _ *fuse.EntryOut) fuse.Status {
	if kind := in.Mode & syscall.S_IFMT; kind == syscall.S_IFREG || kind == 0 {
		return fuse.EROFS
	}
	return fuse.EPERM
}

// Mkdir is refused.
func (b *bridge) Mkdir(<-chan struct{}, *fuse.MkdirIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// Unlink is refused.
func (b *bridge) Unlink(<-chan struct{}, *fuse.InHeader, string) fuse.Status { return fuse.EROFS }

// Rmdir is refused.
func (b *bridge) Rmdir(<-chan struct{}, *fuse.InHeader, string) fuse.Status { return fuse.EROFS }

// Rename is refused.
func (b *bridge) Rename(<-chan struct{}, *fuse.RenameIn, string, string) fuse.Status {
	return fuse.EROFS
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

// Create is refused.
func (b *bridge) Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return fuse.EROFS
}

// Tmpfile is refused.
func (b *bridge) Tmpfile(<-chan struct{}, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.EROFS
}

// Write never comes: no handle is open for writing.
func (b *bridge) Write(<-chan struct{}, *fuse.WriteIn, []byte) (uint32, fuse.Status) {
	return 0, fuse.EBADF
}

// Fallocate never comes either.
func (b *bridge) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status { return fuse.EROFS }
