// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// atFDCWD is AT_FDCWD as a system call takes it.
const atFDCWD = ^uintptr(99)

func rawOpen(path *byte) (fd uintptr, errno unix.Errno) {
	fd, _, errno = unix.RawSyscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(path)), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	return fd, errno
}

func rawClose(fd uintptr) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	return errno
}

// hugeBytes is how much of a mapping of this process is mapped by huge pages.
func hugeBytes(m []byte) (int64, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	first := uintptr(unsafe.Pointer(&m[0]))
	last := first + uintptr(len(m))
	lines := bufio.NewScanner(f)
	inside := false
	var total int64
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), " ")
		var from, to uintptr
		if !strings.HasSuffix(name, ":") {
			if _, err := fmt.Sscanf(name, "%x-%x", &from, &to); err != nil {
				return 0, fmt.Errorf("smaps: %q: %w", lines.Text(), err)
			}
			inside = from < last && first < to
		}
		if inside && (name == "ShmemPmdMapped:" || name == "FilePmdMapped:") {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				return 0, fmt.Errorf("smaps: %q: %w", lines.Text(), err)
			}
			total += kib << 10
		}
	}
	return total, lines.Err()
}
