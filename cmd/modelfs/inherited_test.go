// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLetGo: what lies in the mount is closed, what lies beside it is not.
func TestLetGo(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) int {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	inside, beside := open("mnt/models/m"), open("mnt2")
	defer unix.Close(beside)
	letGo(filepath.Join(dir, "mnt"))
	var st unix.Stat_t
	if err := unix.Fstat(inside, &st); err != unix.EBADF {
		t.Errorf("a handle in the mount: %v, want EBADF", err)
	}
	if err := unix.Fstat(beside, &st); err != nil {
		t.Errorf("a handle beside the mount: %v", err)
	}
}
