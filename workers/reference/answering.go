// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxQuestions is how many questions a helper has at a time. It has one thread for each
// that waits, and one more that receives: a question can be taken back at any time.
const maxQuestions = 64

// spareThreads is how many wait for questions when there are none: few questions come at
// a time, and to start a thread takes longer than to answer one.
const spareThreads = 4

// answering is a helper at work. Whichever thread receives a question answers it: to hand
// it over would cost as much as to answer.
type answering struct {
	root string
	idle time.Duration
	over chan error // why it ends; the first counts

	mu        sync.Mutex
	receivers int                 // guarded by mu: threads that receive, or are about to
	asked     map[uint32]*patient // guarded by mu: what is not answered yet
	last      time.Time           // guarded by mu: when something was asked
}

// answerQuestions answers until nobody asks any more.
func answerQuestions(root string, idle time.Duration) error {
	h := &answering{root: root, idle: idle, over: make(chan error, 1), asked: map[uint32]*patient{}, last: time.Now()}
	h.mu.Lock()
	for range spareThreads {
		h.startLocked()
	}
	h.mu.Unlock()
	return <-h.over
}

// startLocked starts a thread that receives.
func (h *answering) startLocked() {
	h.receivers++
	go func() {
		runtime.LockOSThread() // for good: it ends with this, and no other thread is made of it
		if err := h.work(); err != nil {
			if errors.Is(err, errOver) {
				err = nil
			}
			select {
			case h.over <- err:
			default:
			}
		}
	}()
}

// work receives and answers until enough others do, or there is an error.
func (h *answering) work() error {
	if err := confineThread(); err != nil {
		return err
	}
	b := make([]byte, maxQuestion+1)
	for {
		q, err := receive(b)
		switch {
		case errors.Is(err, unix.EAGAIN) && !h.isIdle():
			continue
		case errors.Is(err, unix.EAGAIN):
			return errOver
		case err != nil:
			return err
		}
		if q.kind == takesBack {
			err = h.takeBack(q.id)
		} else {
			err = h.answer(q)
		}
		if err != nil {
			return err
		}
		if !h.receive() {
			return nil
		}
	}
}

// isIdle says whether nobody has asked for long enough, nor waits for an answer.
func (h *answering) isIdle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.asked) == 0 && time.Since(h.last) >= h.idle
}

// receive says whether this thread, which has answered, is to receive again.
func (h *answering) receive() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.receivers >= spareThreads {
		return false
	}
	h.receivers++
	return true
}

// answer opens what is asked for.
func (h *answering) answer(q question) error {
	p := newPatient()
	h.mu.Lock()
	if h.asked[q.id] != nil || len(h.asked) >= maxQuestions {
		h.mu.Unlock()
		return fmt.Errorf("%w: question %d beside %d", errWire, q.id, maxQuestions)
	}
	h.asked[q.id] = p
	h.last = time.Now()
	if h.receivers--; h.receivers == 0 {
		h.startLocked()
	}
	h.mu.Unlock()
	fd, err := q.open(h.root, p)
	close(p.done)
	h.mu.Lock()
	delete(h.asked, q.id)
	h.mu.Unlock()
	a := answer{id: q.id}
	if err != nil {
		a.errno = unix.EINVAL
		errors.As(err, &a.errno)
	}
	err = reply(a, fd)
	if fd >= 0 {
		unix.Close(fd)
	}
	return err
}

// takeBack interrupts a question that nobody waits for any more. It is answered when that
// helps; meanwhile the server hears that this helper is alive. One that is answered is
// none.
func (h *answering) takeBack(id uint32) error {
	h.mu.Lock()
	p := h.asked[id]
	h.receivers-- // see receive
	h.mu.Unlock()
	if p == nil {
		return nil
	}
	go p.interrupt()
	return reply(answer{id: id, errno: stillOpening}, -1)
}
