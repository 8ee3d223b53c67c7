// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/caller"
)

func TestMain(m *testing.M) {
	HelperMain() // children of a test are helpers
	if root := os.Getenv(serverEnv); root != "" {
		if err := serveOne(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serverEnv makes this binary a server of the folder that it names.
const serverEnv = "MODELFS_TEST_SERVER"

// serveOne opens a file as alice, prints its helper's pid, and waits for its end.
func serveOne(root string) error {
	o, err := NewOpener(Options{Root: root, AnyRoot: true, NextKey: func() uint64 { return 1 }})
	if err != nil {
		return err
	}
	p, err := MountPlace("sessions/a/b")
	if err != nil {
		return err
	}
	if _, err := o.Open(context.Background(), alice, p, false); err != nil {
		return err
	}
	for _, p := range (&fixture{Opener: o}).helpers() {
		fmt.Println(p.cmd.Process.Pid)
	}
	select {}
}

var (
	alice = caller.User{Uid: 61001, Gid: 61001}
	bob   = caller.User{Uid: 61002, Gid: 61002, Groups: []uint32{61010}}
	root  = caller.User{}
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("files and processes of other users need root")
	}
}

// fixture is a folder that looks like a mount, on a tmpfs where there is one.
type fixture struct {
	testing.TB
	root string
	*Opener
}

func newFixture(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	above := sharedMemoryDir
	if _, err := os.Stat(above); err != nil {
		above = ""
	}
	dir, err := os.MkdirTemp(above, "modelfs-test-") //nolint:usetesting // TempDir's is for one user alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fixture{TB: t, root: dir}
	f.folder("sessions", 0o1777, root)
	f.folder("tensors", 0o755, root)
	f.do(os.Chmod(dir, 0o755))
	var keys atomic.Uint64
	o := Options{Root: dir, AnyRoot: true, NextKey: func() uint64 { return keys.Add(1) }}
	for _, c := range change {
		c(&o)
	}
	if f.Opener, err = NewOpener(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func (f *fixture) do(errs ...error) {
	f.Helper()
	if err := errors.Join(errs...); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) at(path string) string { return filepath.Join(f.root, path) }

func (f *fixture) folder(path string, mode os.FileMode, owner caller.User) {
	f.Helper()
	f.do(os.MkdirAll(f.at(path), 0o755), unix.Chmod(f.at(path), uint32(mode)))
	f.own(f.at(path), owner)
}

func (f *fixture) file(path string, content []byte, mode os.FileMode, owner caller.User) {
	f.Helper()
	f.do(os.WriteFile(f.at(path), content, 0o600), os.Chmod(f.at(path), mode))
	f.own(f.at(path), owner)
}

func (f *fixture) own(path string, owner caller.User) {
	f.Helper()
	if os.Geteuid() == 0 {
		f.do(os.Lchown(path, int(owner.Uid), int(owner.Gid)))
	}
}

// place is a path that is one.
func (f *fixture) place(path string) Place {
	f.Helper()
	p, err := MountPlace(path)
	f.do(err)
	return p
}

// me is who runs the test.
func (f *fixture) me() caller.User { return f.Opener.me }

// helpers are the processes that run.
func (f *fixture) helpers() (all []*process) {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	for _, s := range f.pool.all {
		select {
		case <-s.ready:
			if s.err == nil {
				all = append(all, s.process)
			}
		default:
		}
	}
	return all
}

// shm is a file of /dev/shm that goes with the test, and its key.
func (f *fixture) shm(content []byte, mode os.FileMode, owner caller.User) (key, path string) {
	f.Helper()
	file, err := os.CreateTemp(sharedMemoryDir, "modelfs-secret-")
	if err != nil {
		f.Skip(err)
	}
	defer file.Close()
	path = file.Name()
	f.Cleanup(func() { os.Remove(path) })
	_, err = file.Write(content)
	f.do(err, file.Chmod(mode))
	f.own(path, owner)
	return "/" + filepath.Base(path), path
}

// descriptors counts those of this process.
func descriptorCount(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
