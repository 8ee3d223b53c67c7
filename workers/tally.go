// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import "sync"

// tally counts the calls that run or wait.
type tally struct {
	mu   sync.Mutex
	n    int
	zero []chan struct{} // closed when there are none
}

func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
}

func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n > 0 {
		return
	}
	for _, c := range t.zero {
		close(c)
	}
	t.zero = nil
}

// idle is closed at the next moment without calls.
func (t *tally) idle() <-chan struct{} {
	c := make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		close(c)
	} else {
		t.zero = append(t.zero, c)
	}
	return c
}
