// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestUmountOfNothing(t *testing.T) {
	f := newFixture(t)
	if got := f.fail(t, 1, "umount", "/nowhere"); got != "modelfs: nothing is mounted at /nowhere; modelfs mounts: MOUNT\n" {
		t.Error(got)
	}
	f.write(t, "mountinfo", "21 28 0:20 / /sys rw - sysfs sysfs rw\n")
	if got := f.fail(t, 1, "umount", "/nowhere"); got != "modelfs: nothing is mounted at /nowhere, and there is no modelfs mount\n" {
		t.Error(got)
	}
	if got := f.fail(t, 1, "umount", "/sys/"); got != "modelfs: /sys is a mount of type sysfs, not of modelfs: use umount\n" {
		t.Error(got)
	}
}

func TestCanonical(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []error{
		os.MkdirAll(filepath.Join(dir, "a/b"), 0o755),
		os.Symlink("a", filepath.Join(dir, "la")),
		os.Symlink("a/b", filepath.Join(dir, "lb")),
		os.Symlink("loop", filepath.Join(dir, "loop")),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	for path, want := range map[string]string{"a/b": "a/b", "a/b/": "a/b", "la/b": "a/b", "lb": "a/b", "none/x": "none/x", "loop": "loop"} {
		got, err := canonical(filepath.Join(dir, path))
		if err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s: %s, %v; want %s", path, got, err, want)
		}
	}
}

// TestDaemonEnds: umount waits for the daemon's end, and not for ever.
func TestDaemonEnds(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.write(t, ".modelfs/status.json", `{"pid": `+strconv.Itoa(child.Process.Pid)+`}`)
	daemon := daemonOf(f.mount)
	defer daemon.close()
	if daemon.ended(10 * time.Millisecond) {
		t.Error("a running daemon ended")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !daemon.ended(5 * time.Second) {
		t.Error("a killed daemon did not end")
	}
	_ = child.Wait()
	gone := daemonOf(filepath.Join(f.mount, "nothing"))
	if !gone.ended(0) {
		t.Error("there is no daemon to wait for")
	}
	if strings.TrimSpace(f.err.String()) != "" {
		t.Error(f.err.String())
	}
}
