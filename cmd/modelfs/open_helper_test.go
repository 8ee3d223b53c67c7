// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/reference"
)

// TestOpenHelper: the command opens files as another user, and none that are not his.
func TestOpenHelper(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("processes of other users need root")
	}
	file, err := os.CreateTemp("/dev/shm", "modelfs-test-")
	if err != nil {
		t.Skip(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := file.WriteString("hers"); err != nil {
		t.Fatal(err)
	}
	if err := file.Chown(61001, 61001); err != nil {
		t.Fatal(err)
	}
	// env makes this test binary the program in a child whose environment is not ours.
	command := append([]string{"/usr/bin/env", asProgram + "=1"}, selfPath(t))
	o, err := reference.NewOpener(reference.Options{Command: append(command, openHelperArguments()[1:]...)})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	place, err := reference.SharedMemory(filepath.Base(file.Name()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := o.Open(context.Background(), caller.User{Uid: 61001, Gid: 61001}, place, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); string(got) != "hers" {
		t.Errorf("got %q %v", got, err)
	}
	if _, err := o.Open(context.Background(), caller.User{Uid: 61002, Gid: 61002}, place, false); err == nil {
		t.Error("another user has it, too")
	}
}

// selfPath is a copy of this binary that every user may run.
func selfPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "modelfs-test-") //nolint:usetesting // TempDir's is for one user alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	content, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "modelfs")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o755, path: 0o755} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestOpenHelperAlone: without a server at the other end it fails, and says so.
func TestOpenHelperAlone(t *testing.T) {
	for _, args := range [][]string{{openHelper}, {openHelper, "x"}} {
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Env = []string{asProgram + "=1"}
		cmd.ExtraFiles = []*os.File{os.Stdin}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err == nil || !strings.HasPrefix(string(out), "modelfs: ") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
}
