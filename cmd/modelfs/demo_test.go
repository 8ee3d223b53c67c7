// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// needFUSE skips where modelfs cannot mount, or fails where MODELFS_REQUIRE says
// that it can.
func needFUSE(t *testing.T) {
	t.Helper()
	for _, c := range diagnose(newProgram().examine()) {
		if c.Level != failed {
			continue
		}
		if strings.Contains(os.Getenv("MODELFS_REQUIRE"), "fuse") {
			t.Fatalf("%s: %s", c.Name, c.Found)
		}
		t.Skipf("modelfs cannot mount here: %s: %s", c.Name, c.Found)
	}
}

// TestDemo runs the whole demo, which checks each of its steps itself.
func TestDemo(t *testing.T) {
	needFUSE(t)
	tmp := t.TempDir()
	cmd := exec.Command(mustExecutable(t), "demo")
	cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+tmp)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, text)
	}
	for _, words := range []string{"1. mount", "the file was loaded once", "a copy each, by read()", "modelfs, once loaded", "kill -9", "3 references of silero-vad became 2", "refused: silero-vad is in use by 2 processes", "no mount, no process and no memory is left"} {
		if !strings.Contains(string(text), words) {
			t.Errorf("it does not say %q:\n%s", words, text)
		}
	}
	left, err := filepath.Glob(filepath.Join(tmp, "modelfs-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestDemoMountFails: what the mount said is in the error.
func TestDemoMountFails(t *testing.T) {
	t.Setenv(asProgram, "1")
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := startDemoMount(t.Context(), mustExecutable(t), missing, missing)
	if err == nil || !strings.Contains(err.Error(), "modelfs: ") || !strings.Contains(err.Error(), "missing") {
		t.Errorf("got %v", err)
	}
}
