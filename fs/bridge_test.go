// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestLookupNodes(t *testing.T) {
	f := newFixture(t)
	f.root.set("w", &memFile{gen: 1, size: 9})
	a := f.lookup(t, "w")
	if a.NodeId>>32 != 7 || a.Attr.Ino != a.NodeId {
		t.Errorf("node %#x, inode %#x: want the prefix in both", a.NodeId, a.Attr.Ino)
	}
	if b := f.lookup(t, "w"); b.NodeId != a.NodeId {
		t.Error("the same generation is another node")
	}
	f.root.set("w", &memFile{gen: 2})
	c := f.lookup(t, "w")
	if c.NodeId == a.NodeId {
		t.Error("another generation is the same node")
	}
	if _, _, ok := f.table.get(a.NodeId); !ok {
		t.Error("the old generation is gone while the kernel knows it")
	}
	f.root.set("w", &memFolder{children: map[string]Entry{}})
	if d := f.lookup(t, "w"); d.NodeId == c.NodeId || d.Attr.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		t.Error("a folder is the node of the file that had its name")
	}
	f.Forget(a.NodeId, 1)
	if _, _, ok := f.table.get(a.NodeId); !ok {
		t.Error("forgotten once, looked up twice: it must stay")
	}
	f.Forget(a.NodeId, 1)
	if _, _, ok := f.table.get(a.NodeId); ok {
		t.Error("the node is still there")
	}
	f.Forget(a.NodeId, 5) // unknown: no panic
}

func TestForgettingAnOldGenerationKeepsTheNewName(t *testing.T) {
	f := newFixture(t)
	f.root.set("w", &memFile{gen: 1})
	old := f.lookup(t, "w").NodeId
	f.root.set("w", &memFile{gen: 2})
	now := f.lookup(t, "w").NodeId
	f.Forget(old, 1)
	if id, ok := f.table.find("w"); !ok || id != now {
		t.Errorf("found %d %v, want %d", id, ok, now)
	}
}

func TestAttr(t *testing.T) {
	f := newFixture(t)
	f.root.set("w", &memFile{gen: 1, size: 9})
	a := f.lookup(t, "w").Attr
	if a.Size != 9 || a.Blocks != 8 || a.Blksize != 4096 || a.Nlink != 1 || a.Mode != syscall.S_IFREG|0o644 || a.Mtime != 1 {
		t.Errorf("attributes %+v", a)
	}
}

func TestErrorsReachTheKernel(t *testing.T) {
	f := newFixture(t)
	var out fuse.EntryOut
	if s := f.Lookup(nil, &fuse.InHeader{NodeId: 1}, "none", &out); s != fuse.ENOENT {
		t.Errorf("unknown name: %v", s)
	}
	f.root.set("w", &memFile{gen: 1, fail: ErrStale})
	if s := f.Lookup(nil, &fuse.InHeader{NodeId: 1}, "w", &out); s != fuse.Status(syscall.ESTALE) {
		t.Errorf("outdated: %v", s)
	}
	if s := f.GetAttr(nil, &fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: 99}}, &fuse.AttrOut{}); s != fuse.Status(syscall.ESTALE) {
		t.Errorf("unknown node: %v", s)
	}
	f.root.set("w", &memFile{gen: 1, fail: errors.New("the disk is gone")})
	if s := f.Lookup(nil, &fuse.InHeader{NodeId: 1}, "w", &out); s != fuse.EIO || !strings.Contains(f.logged.String(), "the disk is gone") {
		t.Errorf("%v; log: %s", s, f.logged)
	}
}

func TestNothingCanBeChanged(t *testing.T) {
	f := newFixture(t)
	h := &fuse.InHeader{NodeId: 1}
	var e fuse.EntryOut
	for what, got := range map[string]fuse.Status{
		"setattr": f.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: *h}}, &fuse.AttrOut{}),
		"mkdir":   f.Mkdir(nil, &fuse.MkdirIn{InHeader: *h}, "x", &e),
		"unlink":  f.Unlink(nil, h, "x"),
		"rmdir":   f.Rmdir(nil, h, "x"),
		"rename":  f.Rename(nil, &fuse.RenameIn{InHeader: *h}, "x", "y"),
		"create":  f.Create(nil, &fuse.CreateIn{InHeader: *h}, "x", &fuse.CreateOut{}),
		"mknod":   f.Mknod(nil, &fuse.MknodIn{Mode: syscall.S_IFREG}, "x", &e),
	} {
		if got != fuse.EROFS {
			t.Errorf("%s: %v, want EROFS", what, got)
		}
	}
	for what, got := range map[string]fuse.Status{
		"link":        f.Link(nil, &fuse.LinkIn{}, "x", &e),
		"symlink":     f.Symlink(nil, h, "x", "y", &e),
		"device":      f.Mknod(nil, &fuse.MknodIn{Mode: syscall.S_IFCHR}, "x", &e),
		"fifo":        f.Mknod(nil, &fuse.MknodIn{Mode: syscall.S_IFIFO}, "x", &e),
		"removexattr": f.RemoveXAttr(nil, h, "user.modelfs.pinned"),
	} {
		if got != fuse.EPERM {
			t.Errorf("%s: %v, want EPERM", what, got)
		}
	}
}

func TestXattr(t *testing.T) {
	f := newFixture(t)
	h := &fuse.InHeader{NodeId: 1}
	if n, s := f.GetXAttr(nil, h, "user.modelfs.state", nil); s != fuse.ERANGE || n != 8 {
		t.Errorf("size: %d %v", n, s)
	}
	buf := make([]byte, 8)
	if n, s := f.GetXAttr(nil, h, "user.modelfs.state", buf); s != fuse.OK || string(buf[:n]) != "resident" {
		t.Errorf("value: %q %v", buf[:n], s)
	}
	if _, s := f.GetXAttr(nil, h, "user.modelfs.none", buf); s != fuse.ENODATA {
		t.Errorf("unknown: %v", s)
	}
	if _, s := f.GetXAttr(nil, h, "security.capability", buf); s != fuse.ENODATA {
		t.Errorf("the kernel's own: %v", s)
	}
	list := make([]byte, 100)
	if n, s := f.ListXAttr(nil, h, list); s != fuse.OK || string(list[:n]) != "user.modelfs.state\x00user.modelfs.bytes\x00" {
		t.Errorf("list: %q %v", list[:n], s)
	}
	set := &fuse.SetXAttrIn{InHeader: *h}
	if s := f.SetXAttr(nil, set, "user.modelfs.pinned", []byte("1")); s != fuse.OK || f.root.attrs["user.modelfs.pinned"] != "1" {
		t.Errorf("set: %v", s)
	}
	if s := f.SetXAttr(nil, set, "user.modelfs.state", []byte("x")); s != fuse.EPERM {
		t.Errorf("set what cannot be set: %v", s)
	}
	if s := f.SetXAttr(nil, set, "trusted.x", []byte("x")); s != fuse.EPERM {
		t.Errorf("set another namespace: %v", s)
	}
}

func TestReadDir(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c"} {
		f.root.set(name, &memFile{gen: 1})
	}
	var open fuse.OpenOut
	if s := f.OpenDir(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: 1}, Flags: syscall.O_NONBLOCK}, &open); s != fuse.OK {
		t.Fatal(s)
	}
	if open.OpenFlags&fuse.FOPEN_CACHE_DIR != 0 {
		t.Error("a cached listing does not arrive here: it would look like a lease")
	}
	var names []string
	for off := uint64(0); ; {
		buf := make([]byte, 64) // room for two names
		list := fuse.NewDirEntryList(buf, off)
		if s := f.ReadDir(nil, &fuse.ReadIn{Fh: open.Fh, Offset: off}, list); s != fuse.OK {
			t.Fatal(s)
		}
		if list.Offset == off {
			break
		}
		for rest := list.Bytes(); len(rest) > 0; {
			n := int(rest[16]) // namelen
			names = append(names, string(rest[24:24+n]))
			rest = rest[(24+n+7)/8*8:]
		}
		off = list.Offset
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{".", "..", "a", "b", "c"}) {
		t.Errorf("listed %q", names)
	}
	if f.root.lists != 1 {
		t.Errorf("listed %d times for one pass", f.root.lists)
	}
	f.ReadDir(nil, &fuse.ReadIn{Fh: open.Fh}, fuse.NewDirEntryList(make([]byte, 64), 0))
	if f.root.lists != 2 {
		t.Error("a rewind does not list again")
	}
	f.ReleaseDir(&fuse.ReleaseIn{Fh: open.Fh})
	f.ReleaseDir(&fuse.ReleaseIn{Fh: open.Fh}) // twice: once is enough
	if f.root.closed != 1 || !slices.Equal(f.root.leases, []bool{true}) {
		t.Errorf("closed %d times, nonblock %v", f.root.closed, f.root.leases)
	}
}

func TestLseekKnowsNoHoles(t *testing.T) {
	f := newFixture(t)
	f.root.set("w", &memFile{gen: 1, size: 100})
	id := f.lookup(t, "w").NodeId
	for _, c := range []struct {
		off    uint64
		whence uint32
		want   uint64
		status fuse.Status
	}{{10, 3, 10, fuse.OK}, {10, 4, 100, fuse.OK}, {100, 3, 0, fuse.Status(syscall.ENXIO)}, {1, 9, 0, fuse.EINVAL}} {
		var out fuse.LseekOut
		s := f.Lseek(nil, &fuse.LseekIn{InHeader: fuse.InHeader{NodeId: id}, Offset: c.off, Whence: c.whence}, &out)
		if s != c.status || out.Offset != c.want {
			t.Errorf("%+v: %d %v", c, out.Offset, s)
		}
	}
}

func TestNotifierTellsOnceAndEnds(t *testing.T) {
	var told atomic.Int64
	gate := make(chan struct{})
	n := newNotifier(func(uint64) {
		<-gate
		told.Add(1)
	})
	for range 100 {
		n.changed(5)
	}
	close(gate)
	n.close()
	n.close()
	n.changed(6)
	select {
	case <-n.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the notifier lives on")
	}
	if k := told.Load(); k > 3 {
		t.Errorf("told %d times of one inode", k)
	}
}

func TestContextOfARequestEndsWithTheInterrupt(t *testing.T) {
	cancel := make(chan struct{})
	ctx := request(cancel, &fuse.InHeader{})
	if ctx.Err() != nil {
		t.Error("ended before")
	}
	close(cancel)
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("%v", ctx.Err())
	}
}
