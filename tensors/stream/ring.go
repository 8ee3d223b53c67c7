// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"sync/atomic"

	"github.com/modelfs/modelfs/tensors/shm"
)

// ring is a stream's file in memory.
//
// A slot's sequence number is 2n once frame n is whole in it, and 2n-1 from before
// the first byte of frame n is written until then. Frames are numbered from 1.
type ring struct {
	layout
	memory *shm.Shared

	wake, state, producer *atomic.Uint32
	head, generation      *atomic.Uint64 // head: the last frame that was published
}

func newRing(l layout, memory *shm.Shared) *ring {
	return &ring{
		layout: l, memory: memory,
		wake: memory.Uint32(atWake), state: memory.Uint32(atState), producer: memory.Uint32(atProducer),
		head: memory.Uint64(atHead), generation: memory.Uint64(atGeneration),
	}
}

// sequence is that of the slot of frame n.
func (r *ring) sequence(n uint64) *atomic.Uint64 {
	row, _ := r.slot(n)
	return r.memory.Uint64(int(row) + atSequence)
}

// time is when the frame in the slot of frame n was published.
func (r *ring) time(n uint64) *atomic.Uint64 {
	row, _ := r.slot(n)
	return r.memory.Uint64(int(row) + atTime)
}

// bytes are those of the slot of frame n.
func (r *ring) bytes(n uint64) []byte {
	_, from := r.slot(n)
	to := from + r.frame
	return r.memory.Bytes()[from:to:to]
}

// whole says whether frame n is whole in its slot, and was until now.
func (r *ring) whole(n uint64) bool {
	shm.Fence() // what was read of the frame was read before
	return n <= lastFrame && r.sequence(n).Load() == 2*n
}

// tell wakes all readers, after what they are to see.
func (r *ring) tell() {
	r.wake.Add(1)
	shm.Wake(r.wake)
}
