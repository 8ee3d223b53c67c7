// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// letGo closes what this process has inherited of a mount. A shell that keeps a
// model by an open handle passes it on to every command that it starts, and a
// command that asks who uses the model is no user of it.
func letGo(mount string) {
	const table = "/proc/self/fd"
	fds, err := os.ReadDir(table)
	if err != nil {
		return
	}
	for _, e := range fds {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= unix.Stderr {
			continue
		}
		if to, err := os.Readlink(filepath.Join(table, e.Name())); err == nil && strings.HasPrefix(to, mount+"/") {
			_ = unix.Close(fd)
		}
	}
}
