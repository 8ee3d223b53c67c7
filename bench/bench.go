// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bench is what all measurements share.
type bench struct {
	plan       plan
	repository string
	program    string // modelfs, a copy that no other build replaces meanwhile
	self       string // this program, for its helper modes
	python     *python
	scope      *scope
	stderr     io.Writer
	doing      string // the measurement that progress is about
}

// prepare checks what the measurements need, builds modelfs and makes the work
// folder.
func prepare(ctx context.Context, o options, chosen []measurement, stderr io.Writer) (*bench, error) {
	b := &bench{plan: fullPlan(), stderr: stderr, doing: "prepare"}
	if o.quick {
		b.plan = quickPlan()
	}
	b.plan = b.plan.withRounds(o.rounds)
	var err error
	if b.repository, err = repository(); err != nil {
		return nil, err
	}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	dir, err := onDisk(o.dir)
	if err != nil {
		return nil, err
	}
	var need room
	for _, m := range chosen {
		need = need.both(m.need(b.plan))
	}
	if err := need.check(dir); err != nil {
		return nil, err
	}
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	b.python = newPython(b, o.python)
	if b.scope, err = newScope(dir, "modelfs-bench-"); err != nil {
		return nil, err
	}
	b.program = b.scope.path("modelfs")
	if err := copyProgram(filepath.Join(b.repository, "build/modelfs"), b.program); err != nil {
		return nil, errors.Join(err, b.scope.close())
	}
	b.say("in %s, %s of disk and %s of memory at the most", b.scope.dir, size(need.disk), size(need.memory))
	if err := b.warmMemory(ctx, need.memory); err != nil {
		return nil, errors.Join(err, b.scope.close())
	}
	return b, nil
}

// say writes a line of progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.stderr, "bench: %s: %s\n", b.doing, fmt.Sprintf(format, args...))
}

// repository is the folder of go.mod above the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "cmd/modelfs/main.go")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not in the repository of modelfs: run it there (go run ./bench)", dir)
		}
	}
}

// build makes build/modelfs as users get it.
func (b *bench) build(ctx context.Context) error {
	b.say("make build")
	cmd := exec.CommandContext(ctx, "make", "--silent", "build")
	cmd.Dir = b.repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make build: %w\n%s", err, out)
	}
	return nil
}

func copyProgram(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// onDisk finds the folder to work in. A tmpfs has no cold files.
func onDisk(asked string) (string, error) {
	candidates := []string{asked}
	if asked == "" {
		candidates = []string{os.TempDir(), "/var/tmp"}
	}
	for _, dir := range candidates {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return "", &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		if st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC {
			return filepath.Abs(dir)
		}
	}
	return "", fmt.Errorf("%s is in memory: say with --dir where there is a disk", candidates[len(candidates)-1])
}

// warmMemory has a process use the memory that the measurements will: on a
// virtual machine the first touch of a page is far slower than any later one.
func (b *bench) warmMemory(ctx context.Context, n int64) error {
	b.say("warm %s of memory", size(n))
	_, err := b.helper(ctx, "warm", fmt.Sprint(n))
	return err
}
