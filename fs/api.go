// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"context"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Caller is the process behind a request, as the kernel names it: its ids in
// the namespaces of the mount. Pid is 0 where the kernel does not know it.
type Caller struct {
	Uid, Gid, Pid uint32
}

// Attr is what stat shows of an entry.
type Attr struct {
	// Mode holds the permission bits only; the type follows from the entry.
	Mode     uint32
	Uid, Gid uint32
	// Size is the true size in bytes. It is 0 for a file whose content is made
	// at open (see Stream).
	Size uint64
	// Resident is what of the file lies in shared memory, in bytes; st_blocks.
	Resident     uint64
	Mtime, Atime time.Time
	// Constant says that all this stays as it is while the entry is there: the kernel
	// need not ask again, which it else does for every folder of a path.
	Constant bool
}

// Entry is one file or folder of the tree. Implementations are safe for
// concurrent use and cheap to make: the adapter keeps one per name that the
// kernel knows.
type Entry interface {
	// Attr never blocks on a load. ErrStale says that the name stands for
	// another content by now: the kernel then looks the name up again.
	Attr(ctx context.Context) (Attr, error)
	// Generation tells contents of one name apart: an entry that is looked up
	// with another generation is another inode. 0 for what never changes
	// identity (folders).
	Generation() uint64
}

// Folder is an entry that lists others.
type Folder interface {
	Entry
	// Lookup never blocks on a load. ErrNotExist for a name that is not there.
	Lookup(ctx context.Context, name string) (Entry, error)
	// OpenDir is called once per open of the folder; nonblock is O_NONBLOCK.
	OpenDir(ctx context.Context, caller Caller, nonblock bool) (DirHandle, error)
}

// DirHandle is one open folder.
type DirHandle interface {
	// List returns the whole listing, without "." and "..". It is called at
	// the first read and again after a rewind.
	List(ctx context.Context) ([]DirEntry, error)
	// Close is called exactly once.
	Close()
}

// DirEntry is one name of a listing.
type DirEntry struct {
	Name   string
	Folder bool
}

// File is an entry that has bytes.
type File interface {
	Entry
	// Open returns when the content is there, or with ctx's error when the
	// caller is interrupted. With nonblock it returns ErrAgain instead of
	// waiting. The result is closed exactly once, at RELEASE.
	Open(ctx context.Context, caller Caller, nonblock bool) (Content, error)
}

// Content is what one or more open handles of a file read: a reference that
// keeps the bytes until Close.
type Content interface {
	// ReadAt serves reads where the kernel does not do it itself.
	ReadAt(p []byte, off int64) (int, error)
	// Close gives the reference back.
	Close()
}

// Mappable is Content that lies in a file of its own, which the kernel can read
// and map itself (FUSE passthrough).
type Mappable interface {
	Content
	// OpenBacking returns a fresh read-only descriptor; the adapter closes it.
	OpenBacking() (fd int, err error)
}

// Stream is Content made at open, whose size nobody knows before: it is read
// with FOPEN_DIRECT_IO, as files in /proc are.
type Stream interface {
	Content
	// Streamed marks the type.
	Streamed()
}

// Attributed is an entry with extended attributes. Names are whole
// ("user.modelfs.state").
type Attributed interface {
	// Xattr returns ErrNoAttr for an attribute that does not apply. It may
	// block (user.modelfs.wait) and honours ctx.
	Xattr(ctx context.Context, caller Caller, name string) ([]byte, error)
	// ListXattr names the attributes that have a value now.
	ListXattr(ctx context.Context) ([]string, error)
	// SetXattr changes one; ErrPermission for those that cannot be set. The
	// kernel has checked write permission on the entry before.
	SetXattr(ctx context.Context, caller Caller, name string, value []byte) error
}

// Space is what statfs (df) shows, in bytes.
type Space struct {
	Total, Free uint64
	Files       uint64
}

// Statfser is implemented by the root folder.
type Statfser interface {
	Statfs(ctx context.Context) Space
}

// Creator is a folder in which names are made and taken away. The kernel has checked
// the caller's permissions before, by what Attr says. What exists as something that
// cannot be changed is ErrReadOnly.
type Creator interface {
	Folder
	// Create makes a file and opens it for writing. mode has the umask taken off.
	Create(ctx context.Context, caller Caller, name string, mode uint32) (File, Content, error)
	// Mkdir makes a folder.
	Mkdir(ctx context.Context, caller Caller, name string, mode uint32) (Folder, error)
	// Remove takes away a file, or an empty folder.
	Remove(ctx context.Context, caller Caller, name string, folder bool) error
	// Rename moves a name, over another one unless exclusive.
	Rename(ctx context.Context, caller Caller, name string, to Folder, newName string, exclusive bool) error
}

// Changes are what is to be changed of an entry's attributes; nil stays as it is.
type Changes struct {
	Size         *uint64
	Open         bool    // the caller has the file open for writing: ftruncate
	Mode         *uint32 // permission bits
	Uid, Gid     *uint32
	Atime, Mtime *time.Time
}

// Changeable is an entry whose attributes can be changed.
type Changeable interface {
	Entry
	Change(ctx context.Context, caller Caller, c Changes) error
}

// Lasting is an entry that knows what it was when it was ErrStale: who has it open sees
// that. For others it is what the kernel was told last.
type Lasting interface {
	Last() (Attr, bool)
}

// Writable is a file that can be opened for writing.
type Writable interface {
	File
	// OpenWriter opens it for writing, and for reading too. With trunc the file is
	// to be empty; ErrStale says that the name stands for a new, empty one by now.
	OpenWriter(ctx context.Context, caller Caller, trunc bool) (Content, error)
}

// Unsettled is Content that is still written: its file may be larger than what there
// is of it. The kernel maps it, and leaves read() and write() to Content.
type Unsettled interface {
	Content
	// Unsettled marks the type.
	Unsettled()
}

// Writer is Content that is written. Every write and every change of size comes
// here, also where the kernel maps the content itself: room is there before it is
// used.
type Writer interface {
	Unsettled
	WriteAt(p []byte, off int64) (int, error)
	// Allocate makes the file at least as large as off+n, unless keep, and takes the
	// room for it.
	Allocate(ctx context.Context, off, n int64, keep bool) error
}

// CallerOf is the process behind a request, from the request's context.
func CallerOf(ctx context.Context) Caller {
	if c, ok := fuse.FromContext(ctx); ok {
		return Caller{Uid: c.Uid, Gid: c.Gid, Pid: c.Pid}
	}
	return Caller{}
}
