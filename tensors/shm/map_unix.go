// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package shm

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a file of size bytes, shared and writable.
func mapFile(f *os.File, size int64) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func unmapFile(m []byte) { _ = unix.Munmap(m) }
