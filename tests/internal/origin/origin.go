// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// FS is one mounted origin.
type FS struct {
	server *fuse.Server
	root   *folder

	mu    sync.Mutex
	files map[string]*File
}

// File is one file of an origin.
type File struct {
	fs.Inode

	read    atomic.Int64 // bytes
	waiting atomic.Int64 // reads that are held back
	born    time.Time    // of the origin: times only ever move forward from here

	mu      sync.Mutex
	content []byte
	version int           // of the content
	failure syscall.Errno // of every read
	gate    chan struct{} // closed: reads pass
}

// Mount mounts an empty origin that everybody may read.
func Mount(dir string) (*FS, error) {
	f := &FS{files: make(map[string]*File), root: &folder{}}
	never := time.Duration(0)
	server, err := fs.Mount(dir, f.root, &fs.Options{
		MountOptions: fuse.MountOptions{AllowOther: true, FsName: "test-origin", Name: "test-origin"},
		AttrTimeout:  &never, EntryTimeout: &never,
	})
	if err != nil {
		return nil, fmt.Errorf("mount an origin: %w", err)
	}
	f.server = server
	return f, nil
}

// Add puts a file at a path below the mount. Its reads pass.
func (f *FS) Add(name string, content []byte) *File {
	ctx := context.Background()
	at := &f.root.Inode
	dir, base := path.Split(name)
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		child := at.GetChild(part)
		if child == nil {
			child = at.NewPersistentInode(ctx, &folder{}, fs.StableAttr{Mode: syscall.S_IFDIR})
			at.AddChild(part, child, true)
		}
		at = child
	}
	file := &File{content: content, gate: make(chan struct{}), born: time.Now()}
	close(file.gate)
	at.AddChild(base, at.NewPersistentInode(ctx, file, fs.StableAttr{Mode: syscall.S_IFREG}), true)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[name] = file
	return file
}

// Release lets all reads of all files pass.
func (f *FS) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.files {
		file.Release()
	}
}

// Unmount ends it; nobody may use it any more.
func (f *FS) Unmount() error {
	f.Release()
	return f.server.Unmount()
}

// Hold holds reads back from now on.
func (f *File) Hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.gate:
		f.gate = make(chan struct{})
	default:
	}
}

// Release lets the reads pass that wait, and all later ones.
func (f *File) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.gate:
	default:
		close(f.gate)
	}
}

// Replace exchanges the content in place, as a writer does that rewrites the
// file: size and times change with it.
func (f *File) Replace(content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content = content
	f.version++
}

// Fail makes every read fail; 0 ends that.
func (f *File) Fail(errno syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failure = errno
}

// BytesRead is how much was read since the file was made.
func (f *File) BytesRead() int64 { return f.read.Load() }

// Waiting is how many reads are held back now.
func (f *File) Waiting() int64 { return f.waiting.Load() }

var (
	_ fs.NodeGetattrer = (*File)(nil)
	_ fs.NodeOpener    = (*File)(nil)
	_ fs.NodeReader    = (*File)(nil)
	_ fs.NodeGetattrer = (*folder)(nil)
)

// Getattr gives each version of the content times of its own.
func (f *File) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Mode = 0o644
	out.Size = uint64(len(f.content))
	out.Blocks = (out.Size + 511) / 512
	at := f.born.Add(time.Duration(f.version) * time.Second)
	out.SetTimes(&at, &at, &at)
	return 0
}

// Open keeps nothing in the page cache: every byte that somebody gets is counted.
func (f *File) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// Read waits until reads may pass, or until whoever reads is interrupted.
func (f *File) Read(ctx context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	f.waiting.Add(1)
	select {
	case <-gate:
		f.waiting.Add(-1)
	case <-ctx.Done():
		f.waiting.Add(-1)
		return nil, syscall.EINTR
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failure != 0 {
		return nil, f.failure
	}
	off = min(off, int64(len(f.content)))
	n := copy(dest, f.content[off:])
	f.read.Add(int64(n))
	return fuse.ReadResultData(dest[:n]), 0
}

// folder is a folder that everybody may pass.
type folder struct{ fs.Inode }

// Getattr says so.
func (f *folder) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = 0o755
	return 0
}
