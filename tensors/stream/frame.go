// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"time"
)

// Frame is one frame of a stream, in the ring: it goes when the producer has gone
// round, and with its Reader's Close.
type Frame struct {
	ring      *ring
	number    uint64
	published time.Duration // of the machine's monotonic clock
}

// Number counts the frames of the stream from 1, over all its producers.
func (f Frame) Number() uint64 { return f.number }

// Age is the time since the frame was published.
func (f Frame) Age() time.Duration { return now() - f.published }

// Bytes is the frame where it lies: contiguous, row-major, little-endian. It must not
// be written, and what was read from it counts only if Valid says so afterwards.
func (f Frame) Bytes() []byte { return f.ring.bytes(f.number) }

// Valid says whether the frame is still whole: then all that was read from it until
// now was of this frame.
func (f Frame) Valid() bool { return f.ring.whole(f.number) }

// Copy copies the frame and checks it. It is ErrOverrun when the producer was faster;
// dst then holds parts of several frames.
func (f Frame) Copy(dst []byte) error {
	if int64(len(dst)) < f.ring.frame {
		return fmt.Errorf("copy frame %d: room for %d bytes, it has %d: %w", f.number, len(dst), f.ring.frame, ErrLayout)
	}
	copy(dst, f.Bytes())
	if !f.Valid() {
		return fmt.Errorf("frame %d, with %d slots the producer is at %d: %w", f.number, f.ring.slots, f.ring.head.Load(), ErrOverrun)
	}
	return nil
}
