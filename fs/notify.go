// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"sync"
)

// notifier tells the kernel that attributes changed. The kernel may answer a
// notification only when a request has ended, so they are sent by a goroutine of
// their own, never by a request.
type notifier struct {
	send func(ino uint64)

	mu      sync.Mutex
	pending map[uint64]struct{}
	closed  bool
	wake    chan struct{}
	done    chan struct{}
}

func newNotifier(send func(uint64)) *notifier {
	n := &notifier{send: send, pending: make(map[uint64]struct{}), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go n.run()
	return n
}

// changed queues an inode; one that is queued already is told once.
func (n *notifier) changed(ino uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.pending[ino] = struct{}{}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *notifier) run() {
	defer close(n.done)
	for range n.wake {
		n.mu.Lock()
		batch := n.pending
		n.pending = make(map[uint64]struct{})
		n.mu.Unlock()
		for ino := range batch {
			n.send(ino)
		}
	}
}

// close drops what is queued. It does not wait: a notification may wait for a
// connection that nobody serves any more.
func (n *notifier) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.closed = true
		n.pending = make(map[uint64]struct{})
		close(n.wake)
	}
}
