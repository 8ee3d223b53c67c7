// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// running is a call that the child has.
type running struct {
	id     uint64
	req    *Request
	region Place // where outputs may lie
	// events are what the child said, in order: never more than three, as it waits for an
	// answer after ROOM, and ROOM or an end follows RESULT.
	events chan event
	result []byte // the body of the last RESULT with outputs, until it is taken
	results
	files   []*known
	refused error        // what Room said when it gave none: the child fails the call then
	since   atomic.Int64 // when the child's time began to run, in nanoseconds; 0: we have the turn
	freed   chan struct{}

	// The rest is guarded by Process.mu.
	sent      time.Time
	begun     bool // the child may have begun it, which is gone
	abandoned bool // nobody is in Infer any more
	ended     bool // the child has said the last of it
	full      bool // there was a RESULT, and no ROOM since
	asked     bool // there was a ROOM, and no answer yet
}

type event struct {
	kind  uint16
	flags uint16
	count uint32
	began time.Time // see Response
	room  int64
	text  string
}

var calls = sync.Pool{New: func() any { return &running{events: make(chan event, 4)} }}

// Infer runs a call in the child; see Handler. It waits for a place if as many as
// Spec.Concurrency run.
func (p *Process) Infer(ctx context.Context, req *Request, emit func(*Response) error) error {
	r, err := p.begin(ctx, req)
	if err != nil {
		if req.Released != nil {
			req.Released()
		}
		return err
	}
	for {
		select {
		case e := <-r.events:
			if done, err := p.take(r, e, emit); done {
				p.finish(r)
				return err
			} else if err != nil {
				return p.abandon(r, err)
			}
		case <-ctx.Done():
			return p.abandon(r, ctx.Err())
		case <-p.dead:
			return p.die(r, emit)
		}
	}
}

// begin takes a place and sends the call.
func (p *Process) begin(ctx context.Context, req *Request) (*running, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.slots <- struct{}{}:
	default:
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.dead:
			return nil, p.notBegun()
		}
	}
	r := calls.Get().(*running)
	r.req, r.region, r.refused = req, req.First, nil
	r.begun, r.abandoned, r.ended, r.full, r.asked = false, false, false, false, false
	if req.Released == nil {
		r.freed = make(chan struct{})
	}
	if err := p.sendCall(r); err != nil {
		p.unuse(r)
		<-p.slots
		return nil, err
	}
	return r, nil
}

// take does with an event what is to be done; done when it was the last.
func (p *Process) take(r *running, e event, emit func(*Response) error) (done bool, err error) {
	switch e.kind {
	case typeFail:
		if r.refused != nil {
			return true, r.refused
		}
		return true, &CallError{e.count, e.text}
	case typeRoom:
		p.answerRoom(r, e.room)
		return false, nil
	}
	rec := record{kind: typeResult, flags: e.flags, count: e.count}
	if e.count > 0 {
		rec.body = r.result
	}
	response, err := r.read(r.req, r.region, p.names, rec)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrProtocol, err)
		p.kill(err)
		<-p.dead
		return true, fmt.Errorf("%w: %w", ErrGone, err)
	}
	response.Began = e.began
	return response.Final, emit(response)
}

// answerRoom gives a call memory for its outputs.
func (p *Process) answerRoom(r *running, bytes int64) {
	var place Place
	var flags uint16
	if bytes > 0 {
		if r.req.Room == nil {
			r.refused = &CallError{exhaustedCode, fmt.Sprintf("the outputs need %d bytes, and there is no room for them", bytes)}
		} else {
			place, r.refused = r.req.Room(bytes)
		}
		if r.refused != nil {
			flags, place = flagNoRoom, Place{}
		} else {
			r.region = place
		}
	}
	if err := p.sendRegion(r, flags, place); err != nil {
		r.refused = err
	}
}

// abandon leaves a call to the child, which is told so, and answers it some time.
func (p *Process) abandon(r *running, why error) error {
	id, freed, asked := r.id, r.freed, false
	p.mu.Lock()
	over := r.ended || p.calls == nil
	if !over {
		r.abandoned = true
		for len(r.events) > 0 { // from here on the reader does what is to be done
			asked = (<-r.events).kind == typeRoom
		}
	}
	p.mu.Unlock()
	if over {
		p.finish(r)
		return why
	}
	// The call may be over by now, and r another's.
	p.tell(appendHeader(make([]byte, 0, headerSize), typeCancel, 0, 0, id))
	if asked {
		p.nobody(id)
	}
	if freed != nil {
		<-freed
	}
	return why
}

// notBegun says that a child is gone that had not come to a call.
func (p *Process) notBegun() error { return fmt.Errorf("%w, %w", p.gone, ErrNotBegun) }

// die ends a call whose child is gone: with what it had still said, or with the reason.
func (p *Process) die(r *running, emit func(*Response) error) error {
	err := p.gone
	if !r.begun {
		err = p.notBegun()
	}
	for more := true; more; {
		select {
		case e := <-r.events:
			if e.kind == typeRoom {
				continue
			}
			var done bool
			if done, err = p.take(r, e, emit); done || err != nil {
				more = false
			} else {
				err = p.gone
			}
		default:
			more = false
		}
	}
	p.finish(r)
	return err
}

// finish frees what a call had. The child is done with it, or gone.
func (p *Process) finish(r *running) {
	p.unuse(r)
	released, freed := r.req.Released, r.freed
	r.req, r.freed, r.region = nil, nil, Place{}
	r.since.Store(0)
	for len(r.events) > 0 {
		<-r.events
	}
	calls.Put(r)
	if released != nil {
		released()
	}
	if freed != nil {
		close(freed)
	}
	<-p.slots
}
