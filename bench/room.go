// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// room is what a measurement takes while it runs, in bytes.
type room struct {
	disk, memory int64
}

// spare is asked for beside what is needed: other programs live here too.
const spare = 512 << 20

// both is enough for either: measurements run one after the other.
func (r room) both(other room) room {
	return room{max(r.disk, other.disk), max(r.memory, other.memory)}
}

// check says in one message all that is missing.
func (r room) check(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	disk := int64(st.Bavail) * st.Bsize
	memory, err := meminfo("MemAvailable")
	if err != nil {
		return err
	}
	var missing error
	if r.disk+spare > disk {
		missing = errors.Join(missing, fmt.Errorf("%s needs %s of disk, %s are free: name another folder with --dir, or choose with --only or --quick",
			dir, size(r.disk+spare), size(disk)))
	}
	if r.memory+spare > memory {
		missing = errors.Join(missing, fmt.Errorf("%s of memory are needed, %s are available: end other programs, or choose with --only or --quick",
			size(r.memory+spare), size(memory)))
	}
	return missing
}

// meminfo is a number of /proc/meminfo, in bytes.
func meminfo(field string) (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				return 0, fmt.Errorf("/proc/meminfo, %s: %w", field, err)
			}
			return kib << 10, nil
		}
	}
	return 0, errors.Join(fmt.Errorf("/proc/meminfo has no %s", field), lines.Err())
}
