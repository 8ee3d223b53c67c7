// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tensors"
)

// small makes a stream of frames of four bytes.
func small(t testing.TB, path string, slots int) *Writer {
	t.Helper()
	w := must(Create(path, tensors.U8, []int64{2, 2}, slots))(t)
	t.Cleanup(func() { w.Close() })
	return w
}

func follow(t testing.TB, path string) *Reader {
	t.Helper()
	r := must(Open(path))(t)
	t.Cleanup(func() { r.Close() })
	return r
}

// put publishes frames from..to, whose bytes are their number.
func put(t testing.TB, w *Writer, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		if err := w.Publish(bytes.Repeat([]byte{byte(n)}, 4)); err != nil {
			t.Fatal(err)
		}
	}
}

// later does something in a while, and before what the test made is closed.
func later(t testing.TB, after time.Duration, do func()) {
	var done sync.WaitGroup
	done.Go(func() { time.Sleep(after); do() })
	t.Cleanup(done.Wait)
}

// want says what the next frame must be.
func want(t testing.TB, next func(context.Context) (Frame, error), n int, missed uint64, r *Reader) {
	t.Helper()
	f, err := next(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	var b [4]byte
	if err := f.Copy(b[:]); err != nil {
		t.Error(err)
	}
	if f.Number() != uint64(n) || b != [4]byte{byte(n), byte(n), byte(n), byte(n)} || r.Missed() != missed {
		t.Errorf("frame %d with bytes %v, %d missed; want frame %d, %d missed", f.Number(), b, r.Missed(), n, missed)
	}
	if age := f.Age(); age < 0 || age > time.Minute {
		t.Errorf("frame %d is %v old", n, age)
	}
}

func TestFrames(t *testing.T) {
	path := streamPath(t)
	w := small(t, path, 4)
	put(t, w, 1, 1)
	r := follow(t, path)
	put(t, w, 2, 4)
	for n := 2; n <= 4; n++ {
		want(t, r.Next, n, 0, r)
	}
	put(t, w, 5, 7) // as many as are sure to be whole: the fourth slot may be being filled
	for n := 5; n <= 7; n++ {
		want(t, r.Next, n, 0, r)
	}
	put(t, w, 8, 11)
	want(t, r.Next, 11, 3, r) // one more: the newest one
	put(t, w, 12, 13)
	want(t, r.Latest, 13, 4, r)
	if r.DType() != tensors.U8 || len(r.Shape()) != 2 || r.NBytes() != 4 || r.Slots() != 4 || r.Generation() != 1 {
		t.Errorf("%s%v, %d bytes, %d slots, generation %d", r.DType(), r.Shape(), r.NBytes(), r.Slots(), r.Generation())
	}
	if w.DType() != tensors.U8 || len(w.Shape()) != 2 || w.NBytes() != 4 || w.Head() != 13 {
		t.Errorf("%s%v, %d bytes, head %d", w.DType(), w.Shape(), w.NBytes(), w.Head())
	}
}

// TestLatest: the first call gives what was there at Open, once.
func TestLatest(t *testing.T) {
	path := streamPath(t)
	w := small(t, path, 4)
	r := follow(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Latest(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of an empty stream: %v", err)
	}
	put(t, w, 1, 9)
	late := follow(t, path)
	want(t, late.Latest, 9, 0, late)
	want(t, r.Latest, 9, 8, r)
	later(t, 10*time.Millisecond, func() { put(t, w, 10, 10) })
	want(t, late.Latest, 10, 0, late)
}

// TestOverrun: a frame is whole until its slot is lent again, not until that is
// published.
func TestOverrun(t *testing.T) {
	path := streamPath(t)
	w := small(t, path, 2)
	r := follow(t, path)
	put(t, w, 1, 1)
	f := must(r.Next(soon(t)))(t)
	put(t, w, 2, 2)
	if !f.Valid() {
		t.Error("frame 1 is gone after frame 2 of 2 slots")
	}
	b := must(w.Next())(t)
	var dst [4]byte
	if f.Valid() || !errors.Is(f.Copy(dst[:]), ErrOverrun) {
		t.Error("frame 1 is valid while its slot is filled")
	}
	if err := f.Copy(dst[:2]); !errors.Is(err, ErrLayout) {
		t.Errorf("a copy into too little room: %v", err)
	}
	// Lent twice, published once.
	if again := must(w.Next())(t); &again[0] != &b[0] {
		t.Error("Next lends another slot without a Commit")
	}
	copy(b, "\x03\x03\x03\x03")
	if err := w.Commit(); err != nil {
		t.Error(err)
	}
	if err := w.Commit(); err == nil {
		t.Error("Commit works without Next")
	}
	want(t, r.Next, 3, 1, r) // frame 2 may be being overwritten
}

func TestWriterRefuses(t *testing.T) {
	path := streamPath(t)
	w := small(t, path, 2)
	if err := w.Publish(make([]byte, 5)); !errors.Is(err, ErrLayout) {
		t.Errorf("a frame that is too large: %v", err)
	}
	if _, err := Create(path, tensors.U8, []int64{2, 2}, 2); !errors.Is(err, ErrBusy) {
		t.Errorf("a second producer: %v", err)
	}
	if _, err := Create(path, tensors.F32, []int64{9}, 3); !errors.Is(err, ErrBusy) {
		t.Errorf("a second producer with another layout: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{"Publish": w.Publish(make([]byte, 4)), "Commit": w.Commit(), "Close": w.Close()} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	other := filepath.Join(filepath.Dir(path), "other")
	if err := os.WriteFile(other, []byte("something else"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(other, tensors.U8, []int64{1}, 2); !errors.Is(err, ErrNotStream) {
		t.Errorf("over a file that is no stream: %v", err)
	}
	if err := unix.Mkfifo(other+".fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other + ".fifo"); !errors.Is(err, ErrNotStream) {
		t.Errorf("a FIFO: %v", err)
	}
	for what, l := range map[string]struct {
		dtype tensors.DType
		shape []int64
		slots int
	}{
		"one slot": {tensors.U8, []int64{1}, 1}, "many slots": {tensors.U8, []int64{1}, MaxSlots + 1},
		"no elements": {tensors.U8, []int64{0}, 2}, "half a block": {tensors.Q4_0, []int64{31}, 2},
		"no dtype": {0, []int64{1}, 2}, "rank": {tensors.U8, make([]int64, MaxRank+1), 2}, "63 bits": {tensors.U8, []int64{1 << 62}, 3},
	} {
		if _, err := Create(filepath.Join(filepath.Dir(path), "x"), l.dtype, l.shape, l.slots); !errors.Is(err, ErrLayout) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestEnd: what was published before Close is still given, then the end; Create goes
// on in the same file.
func TestEnd(t *testing.T) {
	path := streamPath(t)
	w := small(t, path, 4)
	r, sleeper := follow(t, path), follow(t, path)
	if has := must(r.HasProducer())(t); !has {
		t.Error("no producer while there is one")
	}
	ended := make(chan time.Duration, 1)
	go func() {
		_, err := sleeper.Next(t.Context())
		for err == nil {
			_, err = sleeper.Next(t.Context())
		}
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		ended <- now()
	}()
	put(t, w, 1, 2)
	time.Sleep(20 * time.Millisecond)
	closed := now()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if d := <-ended - closed; d > nap/2 {
		t.Errorf("a reader that sleeps hears of the end after %v", d)
	}
	want(t, r.Next, 1, 0, r)
	want(t, r.Next, 2, 0, r)
	if _, err := r.Next(soon(t)); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
	if has := must(r.HasProducer())(t); has {
		t.Error("a producer after its end")
	}
	w = small(t, path, 4)
	put(t, w, 3, 3)
	want(t, r.Next, 3, 0, r)
	if r.Generation() != 2 {
		t.Errorf("generation %d", r.Generation())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(soon(t)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the reader's Close: %v", err)
	}
}

// TestReplaced: another layout is another file. Readers hear of it at once; of a file
// that was removed, or replaced by somebody who does not say so, when they look.
func TestReplaced(t *testing.T) {
	path := streamPath(t)
	w := small(t, path, 4)
	r := follow(t, path)
	put(t, w, 1, 1)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	replaced := make(chan time.Duration, 1)
	half, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := half.WriteAt([]byte{stateOpen}, atState); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	want(t, r.Next, 1, 0, r)
	go func() {
		_, err := r.Next(t.Context())
		if !errors.Is(err, ErrReplaced) {
			t.Error(err)
		}
		replaced <- now()
	}()
	time.Sleep(20 * time.Millisecond)
	start := now()
	other := must(Create(path, tensors.F32, []int64{1}, 2))(t)
	defer other.Close()
	if d := <-replaced - start; d > nap/2 {
		t.Errorf("a reader that sleeps hears of the new file after %v", d)
	}
	again := follow(t, path)
	if err := other.Publish(make([]byte, 4)); err != nil {
		t.Error(err)
	}
	if f, err := again.Next(soon(t)); err != nil || f.Number() != 1 || again.DType() != tensors.F32 {
		t.Errorf("of the new one: frame %d, %v", f.Number(), err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Next(soon(t)); !errors.Is(err, ErrReplaced) {
		t.Errorf("of a file that was removed: %v", err)
	}
	if left := must(filepath.Glob(filepath.Join(filepath.Dir(path), ".*")))(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestTakeOver: the next producer begins with what the one before left, at every step
// of a frame.
func TestTakeOver(t *testing.T) {
	for what, c := range map[string]struct {
		leave func(r *ring)
		next  int
	}{
		"before":       {func(*ring) {}, 4},
		"in the frame": {func(r *ring) { r.sequence(4).Store(7); r.bytes(4)[0] = 9 }, 4},
		"whole, not said": {func(r *ring) {
			r.sequence(4).Store(7)
			copy(r.bytes(4), "\x04\x04\x04\x04")
			r.sequence(4).Store(8)
		}, 5},
		"said, nobody woken": {func(r *ring) {
			r.sequence(4).Store(7)
			copy(r.bytes(4), "\x04\x04\x04\x04")
			r.sequence(4).Store(8)
			r.head.Store(4)
		}, 5},
	} {
		t.Run(what, func(t *testing.T) {
			path := streamPath(t)
			w := small(t, path, 3)
			r := follow(t, path)
			put(t, w, 1, 3)
			want(t, r.Next, 3, 2, r)
			c.leave(w.ring)
			w.ring.memory.Close()
			w.ring = nil
			w.file.Close()
			w = small(t, path, 3)
			for n := 4; n < c.next; n++ {
				want(t, r.Next, n, 2, r)
			}
			put(t, w, c.next, c.next)
			want(t, r.Next, c.next, 2, r)
		})
	}
}

// TestWithoutFutex: a reader whose system cannot wait for a word looks again and
// again.
func TestWithoutFutex(t *testing.T) {
	path := streamPath(t)
	w := small(t, path, 4)
	r := follow(t, path)
	asked := 0
	r.wait = func(*atomic.Uint32, uint32, time.Duration) error { asked++; return errors.ErrUnsupported }
	for n := 1; n <= 3; n++ {
		later(t, 5*time.Millisecond, func() { put(t, w, n, n) })
		want(t, r.Next, n, 0, r)
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestContextEnds(t *testing.T) {
	path := streamPath(t)
	small(t, path, 4)
	r := follow(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	var canceled time.Duration
	time.AfterFunc(20*time.Millisecond, func() { canceled = now(); cancel() })
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if d := now() - canceled; d > nap/2 {
		t.Errorf("Next returns %v after its context's end", d)
	}
}

// TestDamaged: whatever the words of a file are, Next neither fails nor spins: it
// waits.
func TestDamaged(t *testing.T) {
	path := streamPath(t)
	w := small(t, path, 4)
	r := follow(t, path)
	for _, head := range []uint64{1, 5, 1<<64 - 1, 1 << 63} {
		w.ring.head.Store(head)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if f, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("head %d: frame %d, %v", head, f.Number(), err)
		}
		cancel()
	}
}
