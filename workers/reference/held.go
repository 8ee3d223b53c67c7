// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"fmt"
	"math"
	"sync"

	"golang.org/x/sys/unix"
)

// held counts the files that calls have, each as often as it is named: a call may name
// many, and thousands of calls may wait. A user has three quarters of them at most, so
// that he keeps nobody else from calling.
type held struct {
	most int

	mu    sync.Mutex
	count int            // guarded by mu
	users map[uint32]int // guarded by mu: those who have any
}

func newHeld() *held { return &held{most: shareOfDescriptors(3), users: map[uint32]int{}} }

// shareOfDescriptors is one part in so many of the descriptors that this process may have.
func shareOfDescriptors(part uint64) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur/part, math.MaxInt32))
}

// take counts a file that is to be opened; ErrLimit if it is too many.
func (h *held) take(uid uint32) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.users[uid] >= h.most-h.most/4:
		return fmt.Errorf("%w: the calls of uid %d name %d files", ErrLimit, uid, h.users[uid])
	case h.count >= h.most:
		return fmt.Errorf("%w: all calls together name %d files", ErrLimit, h.count)
	}
	h.count++
	h.users[uid]++
	return nil
}

func (h *held) give(uid uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count--
	if h.users[uid]--; h.users[uid] == 0 {
		delete(h.users, uid)
	}
}
