// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestBlockedOpens: hundreds of processes that wait for a slow origin disturb
// nobody; a signal ends each at once; those that wait on get the bytes, which
// were read once.
// The control: none of them ends by itself before it is told to.
func TestBlockedOpens(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		blocked, size := 500, 1<<20
		if testing.Short() {
			blocked = 100
		}
		content := weights.Single(1, size)
		p := newPlace(t, m)
		slow := p.slow()
		file := slow.Add("slow/model.safetensors", content)
		slow.Add("quick/model.safetensors", weights.Single(2, size))
		d := p.start()
		must(d.read(d.model("quick/model.safetensors")))(t)
		file.Hold()

		var waiting []*sleeper
		for range blocked {
			waiting = append(waiting, d.startSleeper(t, d.model("slow/model.safetensors")))
		}
		eventually(t, patience, "all of them wait in open", func() bool {
			return d.metrics()[`modelfs_fuse_requests_total{op="open"}`] >= float64(blocked) && file.Waiting() > 0
		})
		for what, slowest := range d.disturbance(t) {
			t.Logf("%-28s %v at the most, %d opens blocked", what, slowest, blocked)
			if slowest > 5*time.Second {
				t.Errorf("%s took %v while %d opens were blocked", what, slowest, blocked)
			}
		}
		for _, s := range waiting {
			if s.over(0) {
				t.Fatalf("a process ended before the origin answered: %v\n%s", s.cmd.ProcessState, s.out.String())
			}
		}

		few := 20
		for i, s := range waiting[few:] {
			signal := unix.SIGINT
			if i%2 == 1 {
				signal = unix.SIGKILL
			}
			s.cmd.Process.Signal(signal)
			if !s.over(patience) {
				t.Fatalf("%v did not end a process that waits in open", signal)
			}
			if status := s.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != signal {
				t.Errorf("a process ended with %v, not by %v", s.cmd.ProcessState, signal)
			}
		}

		file.Release()
		for _, s := range waiting[:few] {
			if !s.over(patience) {
				t.Fatal("a process waits on although the origin answers")
			}
			if !strings.HasPrefix(s.out.String(), digest(content)) {
				t.Errorf("a process that waited got %s", s.out.String())
			}
		}
		if n := file.BytesRead(); n < int64(size) || n > int64(size)+1<<16 {
			t.Errorf("%d bytes were read from the origin, the file has %d", n, size)
		}
	})
}

// TestInterruptedLoad: when everybody who waited for a load is gone, the next open
// loads it all the same.
func TestInterruptedLoad(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		content := weights.Single(1, 1<<20)
		p := newPlace(t, m)
		file := p.slow().Add("m/model.safetensors", content)
		d := p.start()
		file.Hold()
		s := d.startSleeper(t, d.model("m/model.safetensors"))
		eventually(t, patience, "the load reads", func() bool { return file.Waiting() > 0 })
		s.cmd.Process.Signal(unix.SIGINT)
		if !s.over(patience) {
			t.Fatal("it did not end")
		}
		file.Release()
		if got := must(d.read(d.model("m/model.safetensors")))(t); !bytes.Equal(got, content) {
			t.Error("other bytes")
		}
	})
}

// disturbance does what others do all the time, and returns how long the slowest
// of each took.
func (d *daemon) disturbance(t *testing.T) map[string]time.Duration {
	t.Helper()
	slowest := map[string]time.Duration{}
	other := startReader(t, d.mode.uid)
	for range 20 {
		for what, do := range map[string]func() error{
			"stat of the blocked file": func() error { _, err := other.stat(d.model("slow/model.safetensors")); return err },
			"list of its folder":       func() error { _, err := other.list(d.model("slow")); return err },
			"list of models/":          func() error { _, err := other.list(d.model()); return err },
			"read of another model":    func() error { _, err := other.read(d.model("quick/model.safetensors")); return err },
			"stat of an unknown name":  func() error { _, _ = other.stat(d.model("slow/none")); return nil },
			"status.json":              func() error { _, err := other.read(d.at(".modelfs/status.json")); return err },
		} {
			start := time.Now()
			if err := do(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			slowest[what] = max(slowest[what], time.Since(start))
		}
	}
	return slowest
}

// sleeper is an ordinary program that opens a file and prints its sha256.
type sleeper struct {
	cmd   *exec.Cmd
	out   bytes.Buffer
	ended chan struct{}
}

func (d *daemon) startSleeper(t testing.TB, path string) *sleeper {
	t.Helper()
	s := &sleeper{cmd: as(exec.Command("sha256sum", path), d.mode.uid), ended: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH")}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.ended
	})
	return s
}

// over waits for the end.
func (s *sleeper) over(most time.Duration) bool {
	select {
	case <-s.ended:
		return true
	default:
	}
	select {
	case <-s.ended:
		return true
	case <-time.After(most):
		return false
	}
}
