// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestManyQuestions: one helper answers many at a time, each his own, while others are
// given up; nothing is left of those.
func TestManyQuestions(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	f.folder("sessions/a", 0o755, alice)
	const files = 8
	for i := range files {
		f.file(fmt.Sprintf("sessions/a/%d", i), []byte(fmt.Sprint(i)), 0o600, alice)
	}
	if _, err := f.read(alice, "sessions/a/0", false); err != nil {
		t.Fatal(err)
	}
	p, before := f.helpers()[0], descriptorCount(t)
	var all sync.WaitGroup
	for i := range 3 * maxQuestions {
		all.Go(func() {
			for n := range 20 {
				path, want := fmt.Sprintf("sessions/a/%d", (i+n)%files), fmt.Sprint((i+n)%files)
				if n%2 == 0 {
					if got, err := f.read(alice, path, false); got != want || err != nil {
						t.Errorf("%q, want %q: %v", got, want, err)
					}
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%20)*100*time.Microsecond)
				file, err := f.Open(ctx, alice, f.place(path), false)
				cancel()
				if err == nil {
					file.Close()
				} else if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("given up: %v", err)
				}
			}
		})
	}
	all.Wait()
	if got := f.helpers(); len(got) != 1 || got[0] != p {
		t.Error("the helper was replaced")
	}
	settled := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.asked) == 0 && len(p.turns) == 0
	}
	for deadline := time.Now().Add(time.Minute); !settled() || descriptorCount(t) != before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors, %d before; %d questions", descriptorCount(t), before, len(p.asked))
		}
	}
}

// TestHangs: a helper that says nothing of what is taken back hangs, one that says that
// it is at it does not.
func TestHangs(t *testing.T) {
	long := time.Now().Add(-answerLimit - time.Second)
	for name, c := range map[string]struct {
		asked asked
		want  bool
	}{
		"somebody waits":  {asked{}, false},
		"taken back now":  {asked{takenBack: time.Now()}, false},
		"long ago":        {asked{takenBack: long}, true},
		"and it heard so": {asked{takenBack: long, heard: true}, false},
	} {
		p := &process{asked: map[uint32]*asked{1: {}, 2: &c.asked}}
		if got := p.hangs(time.Now()); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestPatiently: what waits in the kernel ends with its context, also when the signal
// comes before the wait begins.
func TestPatiently(t *testing.T) {
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for _, late := range []time.Duration{0, 10 * time.Millisecond} {
		ctx, cancel := context.WithCancel(context.Background())
		n, err := patiently(ctx, func(p *patient) (int, error) {
			cancel()
			time.Sleep(late)
			return p.again(func() (int, error) { return unix.Poll([]unix.PollFd{{Fd: int32(pipe[0]), Events: unix.POLLIN}}, -1) })
		})
		if n > 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d %v", n, err)
		}
	}
	// The runtime's own signals, and anybody's, end nothing.
	interrupted := false
	n, err := newPatient().again(func() (int, error) {
		if !interrupted {
			interrupted = true
			return -1, unix.EINTR
		}
		return 7, nil
	})
	if n != 7 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}
