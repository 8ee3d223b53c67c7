// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package pythontest finds the Python that tests compare with.
package pythontest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Find returns a Python that has the modules: the one that make setup made, one that
// MODELFS_TEST_PYTHON names, or the machine's. Without one the test is skipped, or fails
// if MODELFS_REQUIRE names what is missing: torch, or python.
func Find(t testing.TB, modules ...string) string {
	t.Helper()
	why := "no Python"
	for _, name := range []string{filepath.Join(root(t), ".venv/bin/python"), os.Getenv("MODELFS_TEST_PYTHON"), "python3"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if exec.Command(path, "-c", "import "+strings.Join(modules, ", ")).Run() == nil {
			return path
		}
		why = path + " has not all of " + strings.Join(modules, ", ")
	}
	feature := "python"
	if slices.Contains(modules, "torch") {
		feature = "torch"
	}
	if slices.Contains(strings.Split(os.Getenv("MODELFS_REQUIRE"), ","), feature) {
		t.Fatalf("MODELFS_REQUIRE has %s: %s", feature, why)
	}
	t.Skip(why)
	return ""
}

// root is the folder of the module that the test is in.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("the test is in no module")
	return ""
}
