// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reopen gives a fresh read-only descriptor of an open file, also of one that
// has lost its name.
func reopen(f *os.File) (int, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("reopen %s: %w", f.Name(), err)
	}
	return fd, nil
}
