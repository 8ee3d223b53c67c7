// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package users

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// buffer is reused for every small file of a scan.
type buffer struct{ b []byte }

// read returns a file's content, valid until the next call; nil on any error,
// since processes come and go during a scan.
func (b *buffer) read(path string) []byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if b.b == nil {
		b.b = make([]byte, 64<<10)
	}
	n := 0
	for {
		if n == len(b.b) {
			b.b = append(b.b, make([]byte, len(b.b))...)
		}
		k, err := unix.Read(fd, b.b[n:])
		if err != nil || k <= 0 {
			return b.b[:n]
		}
		n += k
	}
}

func owner(pid string) int {
	var st unix.Stat_t
	if unix.Stat("/proc/"+pid, &st) != nil {
		return -1
	}
	return int(st.Uid)
}

// Groups returns the supplementary groups of a process, for a permission check
// that the kernel cannot make itself.
func Groups(pid uint32) []uint32 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/status")
	if err != nil {
		return nil
	}
	_, rest, ok := strings.Cut(string(text), "\nGroups:")
	if !ok {
		return nil
	}
	line, _, _ := strings.Cut(rest, "\n")
	var groups []uint32
	for _, f := range strings.Fields(line) {
		if g, err := strconv.ParseUint(f, 10, 32); err == nil {
			groups = append(groups, uint32(g))
		}
	}
	return groups
}
