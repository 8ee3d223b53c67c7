// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tensors/shm"
)

const (
	// nap is the longest sleep: a wake-up can be lost when a context ends, and none
	// comes from a producer whose system has no futex.
	nap = 100 * time.Millisecond
	// lookout is how often a reader that waits looks whether the file is still the one
	// that its path names. A producer that replaces it says so at once.
	lookout = time.Second

	// Pauses where the system cannot wait for a word in shared memory.
	shortPause = 20 * time.Microsecond
	longPause  = time.Millisecond
)

// Reader follows a stream.
type Reader struct {
	ring *ring
	file *os.File
	path string // absolute

	last   uint64 // the newest frame that was handed out or passed over
	begun  bool   // one was handed out
	missed uint64

	wait  func(word *atomic.Uint32, old uint32, most time.Duration) error // shm.Wait; nil where the system has no such thing
	pause time.Duration                                                   // the last one, without wait
}

// Open opens a stream for reading. Its first frame is the first one published from
// now on; Latest also gives what is there.
func Open(path string) (*Reader, error) {
	r, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", path, err)
	}
	return r, nil
}

func open(path string) (*Reader, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, l, err := openFile(absolute, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	memory, err := shm.MapShared(f, l.size(), false)
	if err != nil {
		f.Close()
		return nil, err
	}
	ring := newRing(l, memory)
	return &Reader{ring: ring, file: f, path: absolute, last: ring.head.Load(), wait: shm.Wait}, nil
}

// Close gives the mapping back: frames of this reader must not be looked at any more.
func (r *Reader) Close() error {
	if r.ring == nil {
		return os.ErrClosed
	}
	r.ring.memory.Close()
	r.ring = nil
	return r.file.Close()
}

// DType is that of the frames.
func (r *Reader) DType() tensors.DType { return r.ring.dtype }

// Shape is that of the frames.
func (r *Reader) Shape() []int64 { return slices.Clone(r.ring.shape) }

// NBytes is the size of a frame.
func (r *Reader) NBytes() int64 { return r.ring.frame }

// Slots is how many frames the ring holds.
func (r *Reader) Slots() int { return int(r.ring.slots) }

// Generation counts the producers of this file.
func (r *Reader) Generation() uint64 { return r.ring.generation.Load() }

// HasProducer says whether a producer has the stream now: its process lives, and has
// not closed it.
func (r *Reader) HasProducer() (bool, error) { return locked(r.file) }

// Missed is how many frames between Open and the last frame that was handed out were
// passed over: the reader came too late for them, or asked for the Latest. Frames that
// were handed out and then overrun are not among them.
func (r *Reader) Missed() uint64 { return r.missed }

// Next waits for the frame after the last one. A reader that comes too late for it
// gets the newest one instead, and so the most time for it.
//
// It is io.EOF once the stream is closed and every frame was handed out, ErrReplaced
// when another file has taken its place, and what ctx says.
func (r *Reader) Next(ctx context.Context) (Frame, error) { return r.follow(ctx, false) }

// Latest is like Next, and passes over all frames but the newest one. As the first
// call after Open it also gives the one that was there.
func (r *Reader) Latest(ctx context.Context) (Frame, error) { return r.follow(ctx, true) }

func (r *Reader) follow(ctx context.Context, newest bool) (Frame, error) {
	if r.ring == nil {
		return Frame{}, os.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return Frame{}, err
	}
	f, word, err := r.look(newest)
	if !errors.Is(err, errNotYet) {
		return f, err
	}
	wake := r.ring.wake
	stop := context.AfterFunc(ctx, func() { shm.Wake(wake) })
	defer stop()
	for looked := time.Now(); ; {
		r.sleep(word)
		if err := ctx.Err(); err != nil {
			return Frame{}, err
		}
		if f, word, err = r.look(newest); !errors.Is(err, errNotYet) {
			return f, err
		}
		if time.Since(looked) > lookout {
			if displaced(r.file, r.path) {
				return Frame{}, fmt.Errorf("%s: removed, or another file is there: %w", r.path, ErrReplaced)
			}
			looked = time.Now()
		}
	}
}

var errNotYet = errors.New("no frame yet")

// look takes the next frame, if there is one. It is errNotYet if not, with the value
// that the futex word had before.
func (r *Reader) look(newest bool) (Frame, uint32, error) {
	word, state := r.ring.wake.Load(), r.ring.state.Load() // before the frames: none comes after the end
	if n := r.choose(newest); n > 0 {
		return r.hand(n), word, nil
	}
	switch state {
	case stateClosed:
		return Frame{}, word, io.EOF
	case stateReplaced:
		return Frame{}, word, fmt.Errorf("%s: open it again: %w", r.path, ErrReplaced)
	}
	return Frame{}, word, errNotYet
}

// choose is the number of the frame that comes next, 0 if there is none yet.
func (r *Reader) choose(newest bool) uint64 {
	first := r.last + 1
	if newest && !r.begun {
		first = max(r.last, 1)
	}
	for head := r.ring.head.Load(); head >= first; {
		n := first
		// The slot of the oldest frame may be being filled anew.
		if newest || head-n > uint64(r.ring.slots)-2 {
			n = head
		}
		if r.ring.whole(n) {
			return n
		}
		// The producer has gone round meanwhile, or the file is not what it should be.
		was := head
		if head = r.ring.head.Load(); head == was {
			break
		}
	}
	return 0
}

func (r *Reader) hand(n uint64) Frame {
	if n > r.last {
		r.missed += n - r.last - 1
	}
	r.last, r.begun, r.pause = n, true, 0
	return Frame{r.ring, n, time.Duration(r.ring.time(n).Load())}
}

// sleep waits for a change of the word. Where that cannot be had it looks again after
// pauses that grow.
func (r *Reader) sleep(word uint32) {
	if r.wait != nil && r.wait(r.ring.wake, word, nap) == nil {
		return
	}
	r.wait = nil
	r.pause = min(max(2*r.pause, shortPause), longPause)
	time.Sleep(r.pause)
}
