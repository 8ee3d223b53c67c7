// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"runtime"
	"sync/atomic"

	"google.golang.org/grpc/mem"
)

// Borrow makes a tensor's bytes of memory that stays the caller's. It is not to change
// until release is called: exactly once, from any goroutine; at once for a few bytes,
// which are copied. release may be nil.
//
// gRPC frees what it has written, and what it has not when a call is cancelled. What
// waits for a connection that breaks it forgets (grpc-go 1.85: the queues of a
// loopyWriter that ends): then release is called when the garbage collector has seen
// that nobody has the memory any more, which nothing else can know for sure. On an idle
// server that is within two minutes.
func Borrow(data []byte, release func()) Raw {
	switch {
	case release == nil:
		return Raw{mem.SliceBuffer(data)}
	case mem.IsBelowBufferPoolingThreshold(cap(data)):
		// gRPC would not tell of the end of so small a buffer.
		few := mem.SliceBuffer(append([]byte(nil), data...))
		release()
		return Raw{few}
	}
	return Raw{mem.NewBuffer(&data, newLoan(release))}
}

// loan is a buffer's pool, which only takes back. Only the buffer has it, so that it is
// garbage when the buffer is.
type loan struct {
	end     *end
	cleanup runtime.Cleanup
}

// end is a function that is called once.
type end struct {
	over    atomic.Bool
	release func()
}

func (e *end) call() {
	if !e.over.Swap(true) {
		e.release()
	}
}

func newLoan(release func()) *loan {
	l := &loan{end: &end{release: release}}
	l.cleanup = runtime.AddCleanup(l, (*end).call, l.end)
	return l
}

// Get is never called: nothing is made of a loan.
func (l *loan) Get(n int) *[]byte { b := make([]byte, n); return &b }

// Put takes the buffer's bytes back.
func (l *loan) Put(*[]byte) {
	l.end.call()
	l.cleanup.Stop()
}
