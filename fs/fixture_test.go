// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// memTree is a tree in memory that notes what is asked of it.
type memFolder struct {
	mu       sync.Mutex
	children map[string]Entry
	leases   []bool // nonblock of every OpenDir
	closed   int
	attrs    map[string]string
	lists    int
}

func (f *memFolder) Attr(context.Context) (Attr, error) { return Attr{Mode: 0o755}, nil }

func (f *memFolder) Generation() uint64 { return 0 }

func (f *memFolder) Lookup(_ context.Context, name string) (Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.children[name]; ok {
		return e, nil
	}
	return nil, ErrNotExist
}

func (f *memFolder) OpenDir(_ context.Context, _ Caller, nonblock bool) (DirHandle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases = append(f.leases, nonblock)
	return &memListing{f}, nil
}

func (f *memFolder) set(name string, e Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.children[name] = e
}

type memListing struct{ f *memFolder }

func (l *memListing) List(context.Context) ([]DirEntry, error) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	l.f.lists++
	var out []DirEntry
	for name, e := range l.f.children {
		_, folder := e.(Folder)
		out = append(out, DirEntry{name, folder})
	}
	return out, nil
}

func (l *memListing) Close() {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	l.f.closed++
}

func (f *memFolder) Xattr(_ context.Context, _ Caller, name string) ([]byte, error) {
	if v, ok := f.attrs[name]; ok {
		return []byte(v), nil
	}
	return nil, ErrNoAttr
}

func (f *memFolder) ListXattr(context.Context) ([]string, error) {
	return []string{"user.modelfs.state", "user.modelfs.bytes"}, nil
}

func (f *memFolder) SetXattr(_ context.Context, _ Caller, name string, value []byte) error {
	if name != "user.modelfs.pinned" {
		return ErrPermission
	}
	f.attrs[name] = string(value)
	return nil
}

// memFile is a file whose content is made by open.
type memFile struct {
	gen  uint64
	size int64
	open func(ctx context.Context, nonblock bool) (Content, error)
	fail error // of Attr
}

func (f *memFile) Attr(context.Context) (Attr, error) {
	return Attr{Mode: 0o644, Size: uint64(f.size), Mtime: time.Unix(1, 0), Resident: 4096}, f.fail
}

func (f *memFile) Generation() uint64 { return f.gen }

func (f *memFile) Open(ctx context.Context, _ Caller, nonblock bool) (Content, error) {
	return f.open(ctx, nonblock)
}

// trace is what happened, in order.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (t *trace) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
}

func (t *trace) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines
	t.lines = nil
	return l
}

// memContent is bytes, with a backing when backing is set.
type memContent struct {
	*bytes.Reader
	t *trace
}

func (c *memContent) Close() { c.t.add("content closed") }

type memMappable struct {
	memContent
	fd func() (int, error)
}

func (c *memMappable) OpenBacking() (int, error) { return c.fd() }

type memStream struct{ *memContent }

func (memStream) Streamed() {}

// fakeKernel gives out backing numbers, or refuses.
type fakeKernel struct {
	t      *trace
	next   int32
	refuse bool
}

func (k *fakeKernel) RegisterBackingFd(*fuse.BackingMap) (int32, syscall.Errno) {
	if k.refuse {
		k.t.add("refused")
		return -1, syscall.EMFILE
	}
	k.next++
	k.t.add("registered")
	return k.next, 0
}

func (k *fakeKernel) UnregisterBackingFd(int32) syscall.Errno {
	k.t.add("unregistered")
	return 0
}

// fixture is a bridge without a kernel, over one folder.
type fixture struct {
	*bridge
	root   *memFolder
	trace  *trace
	fake   *fakeKernel
	logged *bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	tr := &trace{}
	logged := &bytes.Buffer{}
	ids, err := newJournal(7, nil)
	if err != nil {
		t.Fatal(err)
	}
	root := &memFolder{children: make(map[string]Entry), attrs: map[string]string{"user.modelfs.state": "resident"}}
	b := newBridge(ids, root, slog.New(slog.NewTextHandler(logged, nil)))
	b.passthrough = true
	k := &fakeKernel{t: tr}
	b.kernel = k
	return &fixture{b, root, tr, k, logged}
}

// lookup returns a name's node id.
func (f *fixture) lookup(t *testing.T, name string) fuse.EntryOut {
	t.Helper()
	var out fuse.EntryOut
	if s := f.Lookup(nil, &fuse.InHeader{NodeId: 1}, name, &out); s != fuse.OK {
		t.Fatalf("lookup %s: %v", name, s)
	}
	return out
}

func (f *fixture) openFile(t *testing.T, id uint64, flags uint32) (fuse.OpenOut, fuse.Status) {
	t.Helper()
	var out fuse.OpenOut
	s := f.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: id}, Flags: flags}, &out)
	return out, s
}

func (f *fixture) release(fh uint64) { f.Release(nil, &fuse.ReleaseIn{Fh: fh}) }

func (f *fixture) mappable(data string) *memMappable {
	return &memMappable{
		memContent: memContent{bytes.NewReader([]byte(data)), f.trace},
		fd: func() (int, error) {
			return syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		},
	}
}

var _ io.ReaderAt = (*memContent)(nil)
