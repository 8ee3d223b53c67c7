// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stream

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tensors"
)

// childEnv makes this test binary one of the processes below.
const childEnv = "MODELFS_STREAM_CHILD"

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		if err := runChild(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Frames of the tests: every word is the number of the frame, so that a frame is torn
// exactly if it has another word.
const words = 32 << 10

func makeStream(path string, slots int) (*Writer, error) {
	return Create(path, tensors.U64, []int64{words}, slots)
}

func paint(b []byte, n uint64) {
	for ; len(b) > 0; b = b[8:] {
		le.PutUint64(b, n)
	}
}

// torn is how many words are not of frame n.
func torn(b []byte, n uint64) (bad int) {
	for ; len(b) > 0; b = b[8:] {
		if le.Uint64(b) != n {
			bad++
		}
	}
	return bad
}

// produce fills frames as fast as it can, until it is stopped or killed.
func produce(w *Writer, until <-chan struct{}) error {
	for {
		select {
		case <-until:
			return nil
		default:
		}
		b, err := w.Next()
		if err != nil {
			return err
		}
		paint(b, w.Head()+1)
		if err := w.Commit(); err != nil {
			return err
		}
	}
}

// tally is what a reader has seen.
type tally struct {
	Whole, Overrun int    // frames
	Torn           int    // frames with words of others that were found valid
	Seen           int    // the same without the check: the control
	Last, Missed   uint64 // number of the last frame; missed frames
	Backwards      int    // frames that were not after the one before
	Ended          bool   // the stream was closed
}

func (a *tally) add(f Frame) {
	bad := torn(f.Bytes(), f.Number()) > 0
	valid := f.Valid()
	switch {
	case valid && bad:
		a.Torn++
	case valid:
		a.Whole++
	default:
		a.Overrun++
	}
	if bad {
		a.Seen++
	}
	if f.Number() <= a.Last {
		a.Backwards++
	}
	a.Last = f.Number()
}

// consume reads until ctx ends or the stream does.
func consume(ctx context.Context, r *Reader) (a tally, err error) {
	for {
		f, err := r.Next(ctx)
		a.Missed = r.Missed()
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			return a, nil
		case errors.Is(err, io.EOF):
			a.Ended = true
			return a, nil
		case err != nil:
			return a, err
		}
		a.add(f)
	}
}

// runChild: "produce PATH" until killed; "read PATH" until the input ends or the
// stream does, "ages PATH" until the stream does.
func runChild(task string) error {
	switch path := os.Args[1]; task {
	case "produce":
		w, err := makeStream(path, 2)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		return produce(w, nil)
	case "ages":
		r, err := Open(path)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		return ages(r)
	case "read":
		r, err := Open(path)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }()
		fmt.Println("ready")
		a, err := consume(ctx, r)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(a)
	default:
		return fmt.Errorf("no task %s", task)
	}
}

type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

// startChild starts one and returns when it is ready.
func startChild(t testing.TB, uid int, task, path string) *child {
	t.Helper()
	self := executable(t)
	cmd := exec.Command(self, path)
	cmd.Env = append(os.Environ(), childEnv+"="+task)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if uid != os.Geteuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	in := must(cmd.StdinPipe())(t)
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t, cmd, in, bufio.NewReader(out)}
	t.Cleanup(c.kill)
	if line, err := c.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s says %q: %v", task, line, err)
	}
	return c
}

// executable is this program where every user may run it.
func executable(t testing.TB) string {
	t.Helper()
	self := must(os.Executable())(t)
	if os.Geteuid() != 0 {
		return self
	}
	dir := must(os.MkdirTemp("", "stream"))(t) //nolint:usetesting // TempDir's is for one user alone
	t.Cleanup(func() { os.RemoveAll(dir) })
	to := filepath.Join(dir, "child")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(to, must(os.ReadFile(self))(t), 0o755)); err != nil {
		t.Fatal(err)
	}
	return to
}

// kill is kill -9.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// finish lets a reader end and returns what it has seen.
func (c *child) finish() (a tally) {
	c.t.Helper()
	c.in.Close()
	if err := json.NewDecoder(c.out).Decode(&a); err != nil {
		c.t.Error(err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Error(err)
	}
	return a
}

// streamPath is a place in shared memory for a stream, where everybody may read.
func streamPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "stream") //nolint:usetesting // TempDir's is on a disk
	if err != nil {
		dir = must(os.MkdirTemp("", "stream"))(t) //nolint:usetesting // TempDir's is for one user alone
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "frames")
}

func must[V any](v V, err error) func(testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// soon is a context that ends a test that hangs.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
