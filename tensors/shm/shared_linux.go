// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MapShared maps the first size bytes of a file that others map too. The file may be
// closed afterwards.
func MapShared(f *os.File, size int64, writable bool) (*Shared, error) {
	protection := unix.PROT_READ
	if writable {
		protection |= unix.PROT_WRITE
	}
	if size <= 0 || size > math.MaxInt {
		return nil, fmt.Errorf("map %s: %d bytes: %w", f.Name(), size, unix.EINVAL)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(size), protection, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return &Shared{m}, nil
}

// See futex(2). Without FUTEX_PRIVATE_FLAG the kernel finds the word by its file and
// offset, whoever has mapped it where, and read-only too.
const (
	futexWait = 0
	futexWake = 1
)

func wait(word *atomic.Uint32, old uint32, most time.Duration) error {
	limit := unix.NsecToTimespec(int64(most))
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(old), uintptr(unsafe.Pointer(&limit)), 0, 0)
	switch errno {
	case 0, unix.EAGAIN, unix.EINTR, unix.ETIMEDOUT:
		return nil
	}
	return fmt.Errorf("futex: %w", errno)
}

func wake(word *atomic.Uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, math.MaxInt32, 0, 0, 0)
}
