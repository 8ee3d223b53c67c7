// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageSize is that of the page cache, and the step of who touches every page.
const pageSize = 4096

// cached is the number of bytes of a file that the page cache holds.
func cached(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return 0, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	defer func() { _ = unix.Munmap(m) }()
	pages := make([]byte, (len(m)+pageSize-1)/pageSize)
	if err := mincore(m, pages); err != nil {
		return 0, &os.PathError{Op: "mincore", Path: path, Err: err}
	}
	var n int64
	for _, p := range pages {
		n += int64(p & 1)
	}
	return n * pageSize, nil
}

func mincore(mapped, pages []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		return errno
	}
	return nil
}

// dropCache takes a file out of the page cache, and sees that it is.
func dropCache(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return &os.PathError{Op: "fadvise", Path: path, Err: err}
	}
	left, err := cached(path)
	if err != nil {
		return err
	}
	if st, err := f.Stat(); err != nil || left > st.Size()/100 {
		return fmt.Errorf("%s stays in the page cache: %s are, somebody maps them", path, size(left))
	}
	return nil
}

// warmCache reads a file until the page cache holds the whole of it.
func warmCache(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	for range 3 {
		have, err := cached(path)
		if err != nil || have >= st.Size() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
		f.Close()
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("%s does not stay in the page cache: too little memory", path)
}
