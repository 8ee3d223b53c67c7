// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package users

import (
	"os"
	"syscall"
	"testing"
)

func inode(t *testing.T, f *os.File) uint64 {
	t.Helper()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Ino
}
