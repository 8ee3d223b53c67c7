// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// The suite runs the real program: each test mounts with a daemon in a process of
// its own, and looks at the mount from others, which are this test binary again
// (see reader_test.go) or the usual commands. The test itself never touches the
// mount, so that it can neither hang with it nor count as its user. At its end
// each test checks that nothing is left (see leftovers_test.go).
func TestMain(m *testing.M) {
	if os.Getenv(readerEnv) != "" {
		serveReader()
		return
	}
	code := m.Run()
	if err := os.RemoveAll(programs.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// programs are what the tests run, where every user may.
var programs struct {
	once sync.Once
	err  error
	dir  string

	modelfs string // built once, by the first test that needs it
	reader  string // a copy of this test binary
}

// needPrograms builds them.
func needPrograms(t testing.TB) {
	t.Helper()
	programs.once.Do(func() { programs.err = makePrograms() })
	if programs.err != nil {
		t.Fatal(programs.err)
	}
}

func makePrograms() error {
	dir, err := os.MkdirTemp("", "modelfs-programs-")
	if err != nil {
		return err
	}
	programs.dir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	programs.modelfs = filepath.Join(dir, "modelfs")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", programs.modelfs, "../cmd/modelfs")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build modelfs: %w\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	programs.reader = filepath.Join(dir, "reader")
	return copyProgram(programs.reader, self)
}

func copyProgram(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}

// must ends the test at an error: v := must(f())(t).
func must[V any](v V, err error) func(testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
