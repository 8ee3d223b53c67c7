// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A patient is a goroutine that may wait in the kernel for a file system, and keeps its
// thread for that: a signal to the thread has the kernel tell the file system that nobody
// waits any more. A file system need not heed that, and who waits for what another thread
// looks up is not interrupted at all, so it may wait on. A nil patient is never interrupted.
type patient struct {
	thread int
	over   atomic.Bool
	done   chan struct{} // closed when it waits no more
}

// newPatient makes one of this goroutine, which has locked its thread.
func newPatient() *patient { return &patient{thread: unix.Gettid(), done: make(chan struct{})} }

// interrupt ends what the patient waits for, and returns when that has ended.
func (p *patient) interrupt() {
	p.over.Store(true)
	// Again and again: a signal that comes before the system call interrupts nothing. The
	// runtime has a handler for this one, and takes any number of them.
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		_ = unix.Tgkill(os.Getpid(), p.thread, unix.SIGURG) // the thread may have ended meanwhile
		select {
		case <-p.done:
			return
		case <-time.After(pause):
		}
	}
}

// again repeats what a signal interrupts that is not for the patient: the runtime sends
// them itself.
func (p *patient) again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) || p != nil && p.over.Load() {
			return n, err
		}
	}
}

// again repeats what a signal interrupts.
func again(call func() (int, error)) (int, error) { return (*patient)(nil).again(call) }

// patiently calls something that may wait in the kernel, and interrupts it when the
// context is over, whose error it returns then.
func patiently[V any](ctx context.Context, call func(*patient) (V, error)) (V, error) {
	if ctx.Done() == nil {
		return call(nil)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := newPatient()
	stop := context.AfterFunc(ctx, p.interrupt)
	v, err := call(p)
	close(p.done)
	if !stop() && errors.Is(err, unix.EINTR) {
		return v, ctx.Err()
	}
	return v, err
}
