// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// checkNothingLeft is the end of every test: no mount, no process and no file of
// its daemons is left, and its folder can be removed. What is left is taken away,
// so that one test's fault is not another's.
func (p *place) checkNothingLeft() {
	p.t.Helper()
	name := filepath.Base(p.dir)
	left := remains(p.t, name)
	for deadline := time.Now().Add(patience); len(left) > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // a process that was killed goes on for a moment
		left = remains(p.t, name)
	}
	for _, what := range left {
		p.t.Errorf("left behind: %s", what)
	}
	if entries, err := os.ReadDir(filepath.Join(p.dir, "tmp")); err != nil || len(entries) > 0 {
		p.t.Errorf("left behind in TMPDIR: %d files, the first %v (%v)", len(entries), entries[:min(1, len(entries))], err)
	}
	p.sweep(name)
	if err := os.RemoveAll(p.dir); err != nil {
		p.t.Error(err)
	}
}

// remains looks for mounts, files of daemons and processes with a name in theirs.
func remains(t testing.TB, name string) (left []string) {
	t.Helper()
	for _, line := range mountTable(t) {
		if strings.Contains(line, name) {
			left = append(left, "mount "+line)
		}
	}
	run := must(filepath.Glob("/run/modelfs/*" + name + "*"))(t)
	left = append(left, run...)
	left = append(left, must(filepath.Glob("/dev/shm/*"+name+"*"))(t)...)
	processes := must(filepath.Glob("/proc/[0-9]*/cmdline"))(t)
	for _, file := range processes {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), name) {
			left = append(left, "process "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return left
}

func mountTable(t testing.TB) []string {
	t.Helper()
	return strings.Split(string(must(os.ReadFile("/proc/self/mountinfo"))(t)), "\n")
}

// mountsAt counts what is mounted at a place.
func mountsAt(t testing.TB, point string) (n int) {
	t.Helper()
	for _, line := range mountTable(t) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == point {
			n++
		}
	}
	return n
}

// sweep takes away what checkNothingLeft complains of.
func (p *place) sweep(name string) {
	table := mountTable(p.t)
	for i := len(table) - 1; i >= 0; i-- {
		if fields := strings.Fields(table[i]); len(fields) > 4 && strings.Contains(fields[4], name) {
			_ = unix.Unmount(fields[4], unix.MNT_DETACH)
		}
	}
	for _, pattern := range []string{"/run/modelfs/*", "/dev/shm/*"} {
		for _, file := range must(filepath.Glob(pattern + name + "*"))(p.t) {
			_ = os.RemoveAll(file)
		}
	}
}
