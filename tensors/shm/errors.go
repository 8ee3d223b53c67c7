// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrNoSpace says that the tmpfs is full.
	ErrNoSpace = errors.New("no space in shared memory")
	// ErrNoMemory says that a cgroup or the machine has not that much memory left.
	ErrNoMemory = errors.New("not enough memory")
	// ErrNoFiles says that as many segments as may keep a descriptor do so. It is an
	// EMFILE.
	ErrNoFiles = fmt.Errorf("%w (ulimit -n): segments have half of them", syscall.EMFILE)
	// ErrInUse says that somebody has the segment open or mapped.
	ErrInUse = errors.New("segment in use")
	// ErrShortOrigin says that the origin ended before the bytes that it had.
	ErrShortOrigin = errors.New("origin is shorter than expected")
)
