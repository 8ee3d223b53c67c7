// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mounted serves a tree for the length of a test.
func mounted(t *testing.T, root Folder, opts Options) (*Server, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		need(t, "fuse", "not root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		need(t, "fuse", err.Error())
	}
	dir := t.TempDir()
	opts.Prefix = 0x7fff1234
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s, err := Mount(dir, root, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
		<-s.Done()
		s.Close()
		s.Close()
	})
	return s, dir
}

// need skips what the machine lacks, unless MODELFS_REQUIRE names it.
func need(t *testing.T, what, why string) {
	t.Helper()
	if strings.Contains(os.Getenv("MODELFS_REQUIRE"), what) {
		t.Fatalf("MODELFS_REQUIRE names %s: %s", what, why)
	}
	t.Skipf("needs %s: %s", what, why)
}

// segmentFile is content on a tmpfs file of its own.
type segmentFile struct {
	*os.File
	t *trace
}

func (s *segmentFile) Close() {
	_ = s.File.Close()
	s.t.add("content closed")
}

func (s *segmentFile) OpenBacking() (int, error) {
	return unix.Open("/proc/self/fd/"+itoa(int(s.Fd())), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func tree(t *testing.T, data []byte) *memFolder {
	t.Helper()
	tr := &trace{}
	open := func(context.Context, bool) (Content, error) {
		f, err := os.CreateTemp("/dev/shm", "modelfs-fs-test-")
		if err != nil {
			return nil, err
		}
		_ = os.Remove(f.Name())
		if _, err := f.Write(data); err != nil {
			return nil, err
		}
		return &segmentFile{f, tr}, nil
	}
	return &memFolder{attrs: map[string]string{}, children: map[string]Entry{
		"weights": &memFile{gen: 1, size: int64(len(data)), open: open},
		"panics":  &memFile{gen: 1, open: func(context.Context, bool) (Content, error) { panic("on purpose") }},
		"enosys":  &memFile{gen: 1, open: func(context.Context, bool) (Content, error) { return nil, syscall.ENOSYS }},
		"outdated": &memFile{gen: 1, open: func(context.Context, bool) (Content, error) {
			return nil, ErrStale
		}},
	}}
}

func TestMountReadsWithoutTheDaemon(t *testing.T) {
	data := bytes.Repeat([]byte("weights!"), 1<<17)
	reads := make(map[bool]int64)
	for _, pass := range []bool{true, false} {
		s, dir := mounted(t, tree(t, data), Options{Passthrough: pass})
		if ok, why := s.Passthrough(); ok != pass {
			if pass {
				need(t, "passthrough", why)
			}
			t.Fatalf("passthrough %v, asked for %v", ok, pass)
		}
		got, err := os.ReadFile(filepath.Join(dir, "weights"))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		reads[pass] = s.Requests()["read"]
	}
	if reads[true] != 0 || reads[false] == 0 {
		t.Errorf("reads at the daemon: %d with passthrough, %d without", reads[true], reads[false])
	}
}

func TestMountSurvivesWhatABackendDoes(t *testing.T) {
	s, dir := mounted(t, tree(t, []byte("x")), Options{Passthrough: true})
	for name, want := range map[string]error{"panics": syscall.EIO, "enosys": syscall.EIO, "none": syscall.ENOENT, "outdated": syscall.ESTALE} {
		if _, err := os.ReadFile(filepath.Join(dir, name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if s.Panics() != 1 {
		t.Errorf("%d panics counted", s.Panics())
	}
	// After an ENOSYS that got through, OPEN would not be sent any more.
	before := s.Requests()["open"]
	if got, err := os.ReadFile(filepath.Join(dir, "weights")); err != nil || string(got) != "x" {
		t.Errorf("%q %v", got, err)
	}
	if s.Requests()["open"] != before+1 {
		t.Error("the kernel sends no OPEN any more")
	}
}

func TestMountIsReadOnly(t *testing.T) {
	_, dir := mounted(t, tree(t, []byte("x")), Options{Passthrough: true})
	w := filepath.Join(dir, "weights")
	for what, c := range map[string]struct{ got, want error }{
		"open for writing": {func() error { _, err := os.OpenFile(w, os.O_RDWR, 0); return err }(), syscall.EROFS},
		"truncate":         {os.Truncate(w, 0), syscall.EROFS},
		"chmod":            {os.Chmod(w, 0o777), syscall.EROFS},
		"remove":           {os.Remove(w), syscall.EROFS},
		"rename":           {os.Rename(w, w+"2"), syscall.EROFS},
		"mkdir":            {os.Mkdir(filepath.Join(dir, "d"), 0o755), syscall.EROFS},
		"create":           {os.WriteFile(filepath.Join(dir, "new"), nil, 0o644), syscall.EROFS},
		"symlink":          {os.Symlink("x", filepath.Join(dir, "l")), syscall.EPERM},
		"link":             {os.Link(w, filepath.Join(dir, "h")), syscall.EPERM},
		"mkfifo":           {syscall.Mkfifo(filepath.Join(dir, "f"), 0o644), syscall.EPERM},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
}

func TestMountTellsTheKernelOfNewAttributes(t *testing.T) {
	root := tree(t, []byte("x"))
	s, dir := mounted(t, root, Options{Passthrough: true})
	path := filepath.Join(dir, "weights")
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	asked := s.Requests()["getattr"]
	if _, err := os.Stat(path); err != nil { // believed for a second
		t.Fatal(err)
	}
	if s.Requests()["getattr"] != asked {
		t.Skip("the machine is too slow for the control: attributes were asked for anew")
	}
	s.AttrChanged("none")
	s.AttrChanged("weights")
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); { // it is on its way
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		if s.Requests()["getattr"] > asked {
			return
		}
	}
	t.Error("the kernel did not ask again")
}
