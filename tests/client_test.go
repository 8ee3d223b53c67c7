// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// reader is a process that reads the mount, as the test sees it. Calls of one
// reader may run at the same time. Errors of the system can be asked for with
// errors.Is(err, unix.ENOENT).
type reader struct {
	cmd   *exec.Cmd
	rpc   *rpc.Client
	ended chan struct{}
}

// startReader starts one that runs as a user and ends with the test.
func startReader(t testing.TB, uid int) *reader {
	t.Helper()
	needPrograms(t)
	cmd := as(exec.Command(programs.reader), uid)
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	cmd.Env = []string{readerEnv + "=1", "GOMAXPROCS=2"}
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	in := must(cmd.StdinPipe())(t)
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &reader{cmd: cmd, ended: make(chan struct{})}
	r.rpc = rpc.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{out, in})
	t.Cleanup(r.kill)
	return r
}

func (r *reader) pid() int { return r.cmd.Process.Pid }

// kill ends the process as kill -9 does, and returns when it is gone.
func (r *reader) kill() {
	select {
	case <-r.ended:
		return
	default:
	}
	r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.rpc.Close()
	close(r.ended)
}

// readerError is an error of the system that a reader has met.
type readerError struct {
	errno syscall.Errno
	text  string
}

func (e *readerError) Error() string { return e.text }

func (e *readerError) Unwrap() error { return e.errno }

func call[A, R any](r *reader, method string, args A) (R, error) {
	var reply R
	err := r.rpc.Call("Reader."+method, args, &reply)
	var text rpc.ServerError
	if errors.As(err, &text) {
		if rest, ok := strings.CutPrefix(string(text), errnoPrefix); ok {
			number, rest, _ := strings.Cut(rest, ": ")
			if n, err := strconv.Atoi(number); err == nil {
				return reply, &readerError{syscall.Errno(n), rest}
			}
		}
	}
	return reply, err
}

// open opens and returns the descriptor.
func (r *reader) open(path string, flags int) (int, error) {
	return call[OpenArgs, int](r, "Open", OpenArgs{path, flags})
}

func (r *reader) close(fd int) error {
	_, err := call[int, None](r, "Close", fd)
	return err
}

// mapFile maps all of an open file, shared and read-only, and returns a number
// for the mapping.
func (r *reader) mapFile(fd int) (int, error) { return call[int, int](r, "Map", fd) }

// attach opens, maps and closes.
func (r *reader) attach(path string) (int, error) {
	fd, err := r.open(path, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	id, err := r.mapFile(fd)
	return id, errors.Join(err, r.close(fd))
}

func (r *reader) unmap(id int) error {
	_, err := call[int, None](r, "Unmap", id)
	return err
}

// sum is the digest of what is mapped, every page of it faulted in anew. EFAULT
// stands for a page that could not be had.
func (r *reader) sum(id int) (string, error) { return call[int, string](r, "Sum", id) }

// span is where a mapping lies in the process.
func (r *reader) span(id int) (from, to uint64, err error) {
	s, err := call[int, [2]uint64](r, "Addr", id)
	return s[0], s[1], err
}

func (r *reader) pread(fd int, at int64, size int) ([]byte, error) {
	return call[PlaceArgs, []byte](r, "Pread", PlaceArgs{fd, at, size})
}

func (r *reader) read(path string) ([]byte, error) { return call[string, []byte](r, "Read", path) }

// stat does not follow symlinks.
func (r *reader) stat(path string) (unix.Stat_t, error) {
	return call[string, unix.Stat_t](r, "Stat", path)
}

func (r *reader) statfs(path string) (unix.Statfs_t, error) {
	return call[string, unix.Statfs_t](r, "Statfs", path)
}

func (r *reader) list(path string) ([]string, error) { return call[string, []string](r, "List", path) }

// walk lists all that is below a folder; folders end in "/".
func (r *reader) walk(path string) ([]string, error) { return call[string, []string](r, "Walk", path) }

// get reads an extended attribute, of those in user.modelfs.
func (r *reader) get(path, name string) (string, error) {
	return call[AttrArgs, string](r, "Get", AttrArgs{Path: path, Name: attribute + name})
}

func (r *reader) set(path, name, value string) error {
	_, err := call[AttrArgs, None](r, "Set", AttrArgs{path, attribute + name, value})
	return err
}

func (r *reader) attrs(path string) ([]string, error) {
	return call[string, []string](r, "Attrs", path)
}

// hold reads a file into memory of the reader's own: a process without modelfs.
func (r *reader) hold(path string) (int, error) { return call[string, int](r, "Hold", path) }

const attribute = "user.modelfs."

// eventually waits until a condition holds, and returns how long that took.
func eventually(t testing.TB, within time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !holds() {
		if time.Since(start) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}

// patience is for what must come, and how fast is not the point.
const patience = 30 * time.Second

// names is how long the kernel may keep what it knows of a name.
const names = 30 * time.Second

// lateness watches how late this machine wakes who sleeps, and says how much that was
// in all: a figure of the contract is kept if it is by a machine that is not busy.
func lateness(t testing.TB) func() time.Duration {
	var total atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		const nap = 5 * time.Millisecond
		for {
			start := time.Now()
			select {
			case <-stop:
				return
			case <-time.After(nap):
				total.Add(int64(time.Since(start) - nap))
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return func() time.Duration { return time.Duration(total.Load()) }
}
