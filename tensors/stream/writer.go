// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"os"
	"slices"

	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tensors/shm"
)

// Writer is the producer of a stream.
type Writer struct {
	ring *ring
	file *os.File // has the lock
}

// Create makes the stream at path, or goes on with the one that is there: with the
// same file, after its last frame, if that has the same dtype, shape and number of
// slots; else with a new one in its place. Readers of a replaced one are told.
//
// ErrBusy says that another producer lives, ErrNotStream that something else is
// there, which is left as it is. A new file has the permissions 0666 less the umask.
func Create(path string, dtype tensors.DType, shape []int64, slots int) (*Writer, error) {
	l, err := newLayout(dtype, shape, slots)
	if err != nil {
		return nil, fmt.Errorf("create stream %s: %w", path, err)
	}
	w, err := create(path, l)
	if err != nil {
		return nil, fmt.Errorf("create stream %s: %w", path, err)
	}
	return w, nil
}

// start makes the file's state that of a stream with this producer.
func start(f *os.File, l layout) (*Writer, error) {
	memory, err := shm.MapShared(f, l.size(), true)
	if err != nil {
		return nil, err
	}
	r := newRing(l, memory)
	// The one before may have ended between a frame's last step and saying so.
	if next := r.head.Load() + 1; r.sequence(next).Load() == 2*next {
		r.head.Store(next)
	}
	r.producer.Store(uint32(os.Getpid()))
	r.generation.Add(1)
	r.state.Store(stateOpen)
	r.tell()
	return &Writer{r, f}, nil
}

// DType is that of the frames.
func (w *Writer) DType() tensors.DType { return w.ring.dtype }

// Shape is that of the frames.
func (w *Writer) Shape() []int64 { return slices.Clone(w.ring.shape) }

// NBytes is the size of a frame.
func (w *Writer) NBytes() int64 { return w.ring.frame }

// Head is the number of the last frame that was published, 0 before the first.
func (w *Writer) Head() uint64 {
	if w.ring == nil {
		return 0
	}
	return w.ring.head.Load()
}

// Next lends the slot of the next frame, to be filled and given to readers by Commit.
// It holds what was in it before, an older frame, which readers lose now. Without a
// Commit the next Next lends it again.
func (w *Writer) Next() ([]byte, error) {
	if w.ring == nil {
		return nil, os.ErrClosed
	}
	n := w.ring.head.Load() + 1
	w.ring.sequence(n).Store(2*n - 1)
	shm.Fence() // nothing is written to the frame before
	return w.ring.bytes(n), nil
}

// Commit gives readers the frame that Next has lent, and wakes them.
func (w *Writer) Commit() error {
	if w.ring == nil {
		return os.ErrClosed
	}
	n := w.ring.head.Load() + 1
	if w.ring.sequence(n).Load() != 2*n-1 {
		return fmt.Errorf("commit frame %d: no Next before it", n)
	}
	w.ring.time(n).Store(uint64(now()))
	w.ring.sequence(n).Store(2 * n) // after all that was written
	w.ring.head.Store(n)
	w.ring.tell()
	return nil
}

// Publish copies a frame in and gives it to readers.
func (w *Writer) Publish(frame []byte) error {
	if w.ring != nil && int64(len(frame)) != w.ring.frame {
		return fmt.Errorf("publish: %d bytes, frames of %s%v have %d: %w", len(frame), w.ring.dtype, w.ring.shape, w.ring.frame, ErrLayout)
	}
	to, err := w.Next()
	if err != nil {
		return err
	}
	copy(to, frame)
	return w.Commit()
}

// Close ends the stream: readers get what was published, then io.EOF. The file stays,
// and Create goes on with it.
func (w *Writer) Close() error {
	if w.ring == nil {
		return os.ErrClosed
	}
	w.ring.state.Store(stateClosed)
	w.ring.tell()
	w.ring.memory.Close()
	w.ring = nil
	return w.file.Close()
}
