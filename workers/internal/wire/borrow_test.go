// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// TestBorrow: memory comes back once, freed or forgotten.
func TestBorrow(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int
		forget bool
	}{{"few bytes", 10, false}, {"freed", 1 << 16, false}, {"forgotten", 1 << 16, true}} {
		t.Run(c.name, func(t *testing.T) {
			var back atomic.Int32
			borrow(t, c.size, c.forget, &back)
			eventually(t, func() bool { runtime.GC(); return back.Load() == 1 })
			runtime.GC()
			if n := back.Load(); n != 1 {
				t.Errorf("came back %d times", n)
			}
		})
	}
}

// borrow has the only references to what it borrows.
func borrow(t *testing.T, size int, forget bool, back *atomic.Int32) {
	raw := Borrow(make([]byte, size), func() { back.Add(1) })
	raw.Ref()
	raw.Free()
	if size > 1024 && back.Load() != 0 {
		t.Error("came back while somebody had it")
	}
	if !forget {
		raw.Free()
	}
}
