// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"errors"
	"testing"

	"github.com/modelfs/modelfs/workers/call"
)

// TestHeld: so many files are named and no more, by one user and by all.
func TestHeld(t *testing.T) {
	h := newHeld()
	if h.most < 16 {
		t.Fatalf("%d files in all", h.most)
	}
	h.most = 8
	take := func(uid uint32, n int) {
		t.Helper()
		for range n {
			if err := h.take(uid); err != nil {
				t.Error(err)
			}
		}
		if err := h.take(uid); !errors.Is(err, ErrLimit) {
			t.Errorf("one more: %v", err)
		}
	}
	take(1, 6)
	take(2, 2)
	h.give(1)
	take(2, 1)
	for range 5 {
		h.give(1)
	}
	for range 3 {
		h.give(2)
	}
	if h.count != 0 || len(h.users) != 0 {
		t.Errorf("%d files are left, of %v", h.count, h.users)
	}
}

// TestHeldByCalls: what calls named counts until they close it, and what could not be
// opened does not.
func TestHeldByCalls(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/a", 0o755, f.me())
	f.file("sessions/a/b", []byte("1234"), 0o600, f.me())
	f.held.most = 4
	x := tensor(call.FP32, 1)
	for _, bad := range []string{"sessions/a/none", "sessions/../x", "sessions/a"} {
		for range 4 {
			if _, err := f.Input(t.Context(), f.me(), x, refTo(bad)); err == nil || errors.Is(err, ErrLimit) {
				t.Errorf("%s: %v", bad, err)
			}
		}
	}
	var open []*Resolved
	for range 3 {
		r, err := f.Input(t.Context(), f.me(), x, refTo("sessions/a/b"))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, r)
	}
	if _, err := f.Opener.Output(t.Context(), f.me(), refTo("sessions/a/b")); !errors.Is(err, ErrLimit) {
		t.Errorf("one more: %v", err)
	}
	for _, r := range open {
		r.Close()
		r.Close()
	}
	if f.held.count != 0 {
		t.Errorf("%d files are left", f.held.count)
	}
}
