// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for address, says := range map[string]string{
		"unix-abstract:x":                        "no permissions",
		"unix:x":                                 "begins with a slash",
		"unix://x":                               "begins with a slash",
		"unix:":                                  "begins with a slash",
		"unix:" + file:                           "is no socket",
		"unix:" + dir + strings.Repeat("/x", 54): "at most 107 bytes",
		"127.0.0.1":                              "missing port",
		"":                                       "missing port",
		"http://127.0.0.1:1":                     "too many colons",
	} {
		l, err := Listen(address, 0)
		if err == nil {
			l.Close()
		}
		if !strings.Contains(errText(err), says) {
			t.Errorf("%s: %v, want %q", address, err, says)
		}
	}
	for mode, want := range map[os.FileMode]os.FileMode{0: 0o660, 0o600: 0o600, 0o666: 0o666} {
		path := filepath.Join(dir, "a/s")
		l, err := Listen("unix://"+path, mode)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != os.ModeSocket|want {
			t.Errorf("mode is %v %v, want %v", info.Mode(), err, want)
		}
		if _, err := Listen("unix:"+path, 0); !strings.Contains(errText(err), "another server answers") {
			t.Errorf("a second server: %v", err)
		}
		l.Close()
		l.Close()
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// TestFolder: a folder that is missing is made for everybody to pass, and goes with the
// socket that it was made for, unless another is in it; one that was there stays, and none is
// made above it.
func TestFolder(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := filepath.Join(t.TempDir(), "run")
	open := func(name string) net.Listener {
		t.Helper()
		l, err := Listen("unix:"+filepath.Join(dir, name), 0o666)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	there := func(want bool, when string) {
		t.Helper()
		info, err := os.Stat(dir)
		if want && (err != nil || info.Mode().Perm() != 0o755) || !want && !os.IsNotExist(err) {
			t.Errorf("%s: %v %v", when, info, err)
		}
	}
	first := open("a")
	there(true, "the first")
	second := open("b")
	second.Close()
	there(true, "without the second")
	second = open("b")
	first.Close()
	there(true, "without the first")
	second.Close()
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open("a").Close()
	there(true, "one that was there before")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	open("a").Close()
	there(false, "nothing is in it")
	if l, err := Listen("unix:"+filepath.Join(dir, "deeper/s"), 0); err == nil {
		l.Close()
		t.Error("two folders are made")
	}
	there(false, "after that")
	if l, err := Listen("unix:"+filepath.Join(dir, strings.Repeat("x", 110-len(dir))), 0); err == nil {
		l.Close()
		t.Error("a long path is taken")
	}
	there(false, "after a path that is too long")

	// Servers that come and go find it, whoever makes it.
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 50 {
				l, err := Listen("unix:"+filepath.Join(dir, string(rune('a'+i))), 0)
				if err != nil {
					t.Error(err)
					return
				}
				l.Close()
			}
		})
	}
	all.Wait()
}

// stale leaves a socket that nobody answers at.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// TestStaleSocket: what a killed server left is replaced, and a listener that was
// replaced does not take its successor's name away.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	first, err := Listen("unix:"+path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen("unix:"+path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's name is gone: %v", err)
	}
}

func TestStaleSocketOfOthers(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	if err := os.Lchown(path, 61001, 61001); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:"+path, 0); !strings.Contains(errText(err), "uid 61001") {
		t.Errorf("got %v", err)
	}
}

// TestOneListens: of many that find the same stale socket, one gets it.
func TestOneListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	var all sync.WaitGroup
	got := make(chan net.Listener, 20)
	for range cap(got) {
		all.Go(func() {
			if l, err := Listen("unix:"+path, 0); err == nil {
				got <- l
			}
		})
	}
	all.Wait()
	if len(got) != 1 {
		t.Errorf("%d listen", len(got))
	}
	for len(got) > 0 {
		(<-got).Close()
	}
}

// TestUmask: the socket has the mode that was asked for, whatever the umask.
func TestUmask(t *testing.T) {
	for _, mask := range []int{0, 0o777} {
		old := syscall.Umask(mask)
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "s")
		l, err := Listen("unix:"+path, 0)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("umask %o: %v %v", mask, info, err)
		}
		l.Close()
	}
}
