// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/handler"
)

// begun has a call run in a child that takes so long, and returns when that has begun.
func begun(t *testing.T, p *handler.Process, out *handler.File, seconds float64) <-chan error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "begun")
	ended := make(chan error, 1)
	go func() {
		_, err := infer(t, p, told(out, "begin", "path", path, "seconds", seconds))
		ended <- err
	}()
	for patience := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return ended
		}
		if time.Now().After(patience) {
			t.Fatal("the call does not begin")
		}
	}
}

// TestAhead: a child that runs calls one by one is given the next ones meanwhile. Their
// time begins when it comes to them.
func TestAhead(t *testing.T) {
	cmd := command(t, "Told")
	cmd.Limit = 6 * time.Second
	const seconds = 3.3 // two of them are over the limit, and one is far below
	p := start(t, cmd)
	if n := p.Spec().Ahead; n < 1 {
		t.Fatalf("%d calls ahead", n)
	}
	out := memory(t, 4096)
	start := time.Now()
	first := begun(t, p, out, seconds)
	var began time.Time
	err := p.Infer(t.Context(), told(out, "sleep", "seconds", seconds), func(r *handler.Response) error {
		began = r.Began
		return nil
	})
	if err != nil {
		t.Errorf("the second: %v", err)
	}
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
	if d := began.Sub(start); d.Seconds() < seconds {
		t.Errorf("the second began after %v, and the first takes %v s", d, seconds)
	}
	err = p.Infer(t.Context(), told(out, "sleep", "seconds", 0), func(r *handler.Response) error {
		began = r.Began
		return nil
	})
	if err != nil || !began.IsZero() {
		t.Errorf("alone it began at %v: %v", began, err)
	}
}

// TestAheadGone: of the calls that a child had when it was killed it may have run the
// first, and none of the others.
func TestAheadGone(t *testing.T) {
	p := start(t, command(t, "Told"))
	out := memory(t, 4096)
	first := begun(t, p, out, 60)
	const more = 3
	others := make(chan error, more)
	for range more {
		go func() {
			_, err := infer(t, p, told(out, "number"))
			others <- err
		}()
	}
	time.Sleep(50 * time.Millisecond) // for them to be sent; it is the same if they are not
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-first; !errors.Is(err, handler.ErrGone) || errors.Is(err, handler.ErrNotBegun) {
		t.Errorf("the first: %v", err)
	}
	for range more {
		if err := <-others; !errors.Is(err, handler.ErrGone) || !errors.Is(err, handler.ErrNotBegun) {
			t.Errorf("another: %v", err)
		}
	}
}

// TestAheadCancelled: a call that nobody waits for any more is answered without being run,
// where the child hears of that before it comes to it.
func TestAheadCancelled(t *testing.T) {
	p := start(t, command(t, "Told"))
	out := memory(t, 1<<20)
	asked, goOn := make(chan struct{}), make(chan struct{})
	large := told(out, "huge", "bytes", 1<<16)
	large.First = handler.Place{}
	large.Room = func(bytes int64) (handler.Place, error) {
		close(asked)
		<-goOn
		return handler.Place{File: out, Bytes: out.Size}, nil
	}
	first := make(chan error, 1)
	go func() {
		_, err := infer(t, p, large)
		first <- err
	}()
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	path := filepath.Join(t.TempDir(), "begun")
	second := told(out, "begin", "path", path, "seconds", 0)
	second.First = handler.Place{}
	second.Released = func() { close(released) }
	ended := make(chan error, 1)
	go func() { ended <- p.Infer(ctx, second, func(*handler.Response) error { return nil }) }()
	time.Sleep(50 * time.Millisecond)
	cancel()
	select {
	case <-released:
	case <-time.After(30 * time.Second):
		t.Error("the child does not answer it")
	}
	close(goOn)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it was run")
	}
}
