// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestOpenByPassthroughRegistersOncePerInode(t *testing.T) {
	f := newFixture(t)
	f.root.set("w", &memFile{gen: 1, open: func(context.Context, bool) (Content, error) { return f.mappable("abc"), nil }})
	id := f.lookup(t, "w").NodeId
	a, s := f.openFile(t, id, 0)
	if s != fuse.OK || a.OpenFlags != fuse.FOPEN_PASSTHROUGH|fuse.FOPEN_NOFLUSH || a.BackingID != 1 {
		t.Fatalf("first open: %v %+v", s, a)
	}
	b, _ := f.openFile(t, id, 0)
	if b.BackingID != 1 || b.Fh == a.Fh {
		t.Fatalf("second open: %+v", b)
	}
	f.release(a.Fh)
	f.release(b.Fh)
	// A registered backing keeps the segment in use: it goes before the reference.
	want := []string{"registered", "content closed", "unregistered", "content closed"}
	if got := f.trace.take(); !slices.Equal(got, want) {
		t.Errorf("happened %q, want %q", got, want)
	}
	if c, _ := f.openFile(t, id, 0); c.BackingID != 2 {
		t.Errorf("after the last release a new backing is registered, got %d", c.BackingID)
	}
}

func TestOpenFallsBackToTheCacheAndTriesAgain(t *testing.T) {
	f := newFixture(t)
	f.root.set("w", &memFile{gen: 1, open: func(context.Context, bool) (Content, error) { return f.mappable("abc"), nil }})
	id := f.lookup(t, "w").NodeId
	f.fake.refuse = true
	a, _ := f.openFile(t, id, 0)
	if a.OpenFlags != fuse.FOPEN_KEEP_CACHE|fuse.FOPEN_NOFLUSH {
		t.Fatalf("refused registration: %+v", a)
	}
	f.fake.refuse = false
	b, _ := f.openFile(t, id, 0)
	if b.OpenFlags&fuse.FOPEN_PASSTHROUGH != 0 {
		t.Error("modes are mixed on one inode")
	}
	f.release(a.Fh)
	f.release(b.Fh)
	if c, _ := f.openFile(t, id, 0); c.OpenFlags&fuse.FOPEN_PASSTHROUGH == 0 {
		t.Error("passthrough is not tried again once the handles are gone")
	}
	if n := f.failures.Load(); n != 1 {
		t.Errorf("%d failures counted, want 1", n)
	}
}

func TestOpenFailingBackingIsNoFailedOpen(t *testing.T) {
	f := newFixture(t)
	m := f.mappable("abc")
	m.fd = func() (int, error) { return -1, errors.New("none left") }
	f.root.set("w", &memFile{gen: 1, open: func(context.Context, bool) (Content, error) { return m, nil }})
	out, s := f.openFile(t, f.lookup(t, "w").NodeId, 0)
	if s != fuse.OK || out.OpenFlags&fuse.FOPEN_PASSTHROUGH != 0 || f.failures.Load() != 1 {
		t.Errorf("%v %+v, %d failures", s, out, f.failures.Load())
	}
}

func TestOpenModes(t *testing.T) {
	f := newFixture(t)
	plain := memContent{bytes.NewReader([]byte("text")), f.trace}
	for _, c := range []struct {
		name    string
		content Content
		want    uint32
	}{
		{"side file", &plain, fuse.FOPEN_KEEP_CACHE},
		{"text made at open", memStream{&plain}, fuse.FOPEN_DIRECT_IO},
	} {
		f.root.set(c.name, &memFile{gen: 1, open: func(context.Context, bool) (Content, error) { return c.content, nil }})
		out, s := f.openFile(t, f.lookup(t, c.name).NodeId, 0)
		if s != fuse.OK || out.OpenFlags != c.want|fuse.FOPEN_NOFLUSH {
			t.Errorf("%s: %v %#x, want %#x", c.name, s, out.OpenFlags, c.want)
		}
		buf := make([]byte, 10)
		r, s := f.Read(nil, &fuse.ReadIn{Fh: out.Fh, Size: 10, Offset: 2}, buf)
		if s != fuse.OK {
			t.Fatalf("%s: read: %v", c.name, s)
		}
		if got, _ := r.Bytes(buf); string(got) != "xt" {
			t.Errorf("%s: read %q", c.name, got)
		}
	}
}

func TestOpenRefusesWriters(t *testing.T) {
	f := newFixture(t)
	f.root.set("w", &memFile{gen: 1, open: func(context.Context, bool) (Content, error) {
		t.Error("the backend was asked")
		return f.mappable(""), nil
	}})
	id := f.lookup(t, "w").NodeId
	for _, flags := range []uint32{syscall.O_WRONLY, syscall.O_RDWR, syscall.O_RDONLY | syscall.O_TRUNC, syscall.O_WRONLY | syscall.O_APPEND} {
		if _, s := f.openFile(t, id, flags); s != fuse.EROFS {
			t.Errorf("flags %#x: %v, want EROFS", flags, s)
		}
	}
}

func TestOpenPassesNonblockAndInterrupts(t *testing.T) {
	f := newFixture(t)
	started := make(chan struct{})
	f.root.set("w", &memFile{gen: 1, open: func(ctx context.Context, nonblock bool) (Content, error) {
		if nonblock {
			return nil, ErrAgain
		}
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	id := f.lookup(t, "w").NodeId
	if _, s := f.openFile(t, id, syscall.O_NONBLOCK); s != fuse.EAGAIN {
		t.Errorf("nonblocking: %v", s)
	}
	cancel := make(chan struct{})
	go func() {
		<-started
		close(cancel)
	}()
	var out fuse.OpenOut
	if s := f.Open(cancel, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: id}}, &out); s != fuse.EINTR {
		t.Errorf("interrupted: %v", s)
	}
}
