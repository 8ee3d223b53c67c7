// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// backends are what the shared tests run on.
var backends = []string{"tmpfs", "memfd"}

// openBackend opens a store of 64 MiB that is closed when the test ends.
func openBackend(t testing.TB, backend string) *Store {
	t.Helper()
	if backend == "tmpfs" {
		return openTmpfs(t, Config{Size: 64 << 20})
	}
	tempDir(t)
	s, err := Open(Config{Size: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

// openTmpfs opens a store on a tmpfs of its own.
func openTmpfs(t testing.TB, cfg Config) *Store {
	t.Helper()
	cfg.Dir = filepath.Join(tempDir(t), "segments")
	needMounts(t)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	if s.Info().Backend != "tmpfs" {
		t.Fatalf("backend is %q: %s", s.Info().Backend, s.Info().Reason)
	}
	return s
}

// needMounts needs the privilege to mount, which a daemon with passthrough has.
func needMounts(t testing.TB) {
	t.Helper()
	err := canMount(t)
	need(t, "fuse", err == nil, "this user cannot mount: "+errorText(err))
}

func canMount(t testing.TB) error {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("modelfs", dir, "tmpfs", 0, "size=4096"); err != nil {
		return err
	}
	return unix.Unmount(dir, 0)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// closeStore closes a store whose segments a test has removed: nothing may be
// left in it.
func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if left := entries(t, s); len(left) > 0 {
		t.Errorf("files left in the store: %q", left)
	}
	if free, all := room(t, s); free != all {
		t.Errorf("the tmpfs still charges %d bytes", all-free)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(s.Dir()); s.Dir() != "" && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder %s is left: %v", s.Dir(), err)
	}
}

// entries are the files of a store.
func entries(t testing.TB, s *Store) []string {
	t.Helper()
	if s.Dir() == "" || s.closed {
		return nil
	}
	all, err := os.ReadDir(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// room is what a tmpfs has free and in all.
func room(t testing.TB, s *Store) (free, all int64) {
	t.Helper()
	if s.Dir() == "" || s.closed {
		return 0, 0
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Dir(), &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bfree) * fs.Bsize, int64(fs.Blocks) * fs.Bsize
}
