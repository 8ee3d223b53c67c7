// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// State says whether a model can be called.
type State int

// The states. A model whose handlers died is Ready while they are being replaced: calls
// wait for them.
const (
	Loading State = iota
	Ready
	Unavailable
)

// String is the protocol's name of it.
func (s State) String() string {
	switch s {
	case Loading:
		return "LOADING"
	case Ready:
		return "READY"
	default:
		return "UNAVAILABLE"
	}
}

// Status is a pool's state.
type Status struct {
	State  State
	Reason string // why it is not Ready
	Spec   Spec   // once a handler has been up
	Alive  int    // handlers that are up
	Deaths int    // of handlers that were, so far
}

// PoolConfig is what a pool keeps alive.
type PoolConfig struct {
	Handlers int // at least 1
	// Start starts one. What has a method Dead() <-chan struct{}, as a Process has, is
	// replaced when that is closed.
	Start func(ctx context.Context, index int) (Handler, error)
	// Work has a handler run calls until its context is over or the handler is gone, and
	// returns then.
	Work func(ctx context.Context, h Handler)
	// Changed is told of a new State or Reason, one at a time; nil: nobody is.
	Changed func(Status)
	Log     *slog.Logger
}

// Pool keeps the handlers of one model alive. What dies is started again after a pause that
// grows with each death without an answered call in between. A handler that died three
// times so counts for nothing; when all do, the model is Unavailable. Its next one is on
// trial: when it has been up for a second the model takes calls again, of which one that is
// answered clears it. To be cleared by calls alone, and to take none before, lost: then one
// caller's deadly call takes the model from all others.
type Pool struct {
	config  PoolConfig
	cancel  context.CancelFunc
	changed chan struct{}
	done    sync.WaitGroup // slots
	told    chan struct{}  // closed when Changed is not called any more

	mu      sync.Mutex
	slots   []*slot
	spec    Spec
	up      bool // one was up once
	deaths  int
	reason  string
	closing bool
	drained context.Context // Close's
}

// slot is the place of one handler, and of the next one when that is gone.
type slot struct {
	index   int
	handler Handler // nil: none is up
	settled bool    // it has been up for a while
	backoff backoff
}

// promises says whether calls can count on the slot: its handler is up, or soon will be.
func (s *slot) promises() bool { return s.settled || !s.backoff.hopeless() }

// NewPool starts the handlers; it does not wait for them.
func NewPool(config PoolConfig) *Pool {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pool{config: config, cancel: cancel, changed: make(chan struct{}, 1), told: make(chan struct{})}
	for i := range max(config.Handlers, 1) {
		p.slots = append(p.slots, &slot{index: i})
	}
	for _, s := range p.slots {
		p.done.Go(func() { p.keep(ctx, s) })
	}
	go p.tell()
	return p
}

// keep has a handler in a slot until the context is over.
func (p *Pool) keep(ctx context.Context, s *slot) {
	said := "" // why it did not start
	for ctx.Err() == nil {
		h, err := p.config.Start(ctx, s.index)
		started := err == nil
		if started {
			err = p.run(ctx, s, h)
		}
		if ctx.Err() != nil {
			return
		}
		pause := p.failed(s, err)
		switch {
		case started:
			said = ""
			p.config.Log.Error("handler failed", "handler", s.index, "error", err, "again in", pause)
		case said != err.Error(): // else it is still so
			said = err.Error()
			p.config.Log.Error("handler does not start, which is tried again and again", "handler", s.index, "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// run has a handler work until it is gone, whose reason it returns, or the context is over.
func (p *Pool) run(ctx context.Context, s *slot, h Handler) error {
	spec := h.Spec()
	p.change(func() { s.handler, p.spec, p.up = h, spec, true })
	p.config.Log.Info("handler is ready", "handler", s.index)
	working, stop := context.WithCancel(ctx)
	defer stop()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		p.config.Work(working, &attended{h, func() { p.well(s) }})
	}()
	var dead <-chan struct{} // nil: it never dies
	if mortal, ok := h.(interface{ Dead() <-chan struct{} }); ok {
		dead = mortal.Dead()
	}
	settled := time.AfterFunc(trial, func() { p.change(func() { s.settled = s.handler == h }) })
	health := time.AfterFunc(healthy, func() { p.well(s) })
	select {
	case <-dead:
	case <-ctx.Done():
		p.mu.Lock()
		drained := p.drained
		p.mu.Unlock()
		select { // until all calls that run are done, or Close's patience is
		case <-worked:
		case <-drained.Done():
		}
	}
	settled.Stop()
	health.Stop()
	stop()
	p.change(func() { s.handler, s.settled = nil, false })
	closed := h.Close()
	<-worked
	if mortal, ok := h.(interface{ Err() error }); ok {
		closed = errors.Join(mortal.Err(), closed)
	}
	if closed == nil {
		closed = ErrGone
	}
	return closed
}

// failed notes that a slot's handler died, or did not start, and returns the pause.
func (p *Pool) failed(s *slot, why error) (pause time.Duration) {
	p.change(func() {
		pause = s.backoff.died()
		p.reason = why.Error()
		p.deaths++
	})
	return pause
}

// well notes that a slot's handler does its work.
func (p *Pool) well(s *slot) {
	p.mu.Lock()
	before := s.backoff.deaths
	s.backoff.well()
	p.mu.Unlock()
	if before > 0 {
		p.change(func() {})
	}
}

// change does something under the lock and has the new status told.
func (p *Pool) change(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// tell calls Changed, with no lock held and never twice at a time.
func (p *Pool) tell() {
	defer close(p.told)
	last := Status{State: Loading}
	for range p.changed {
		now := p.Status()
		if p.config.Changed != nil && (now.State != last.State || now.Reason != last.Reason) {
			p.config.Changed(now)
		}
		last = now
	}
}

// Status is the state of the pool now.
func (p *Pool) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{State: Unavailable, Reason: p.reason, Spec: p.spec, Deaths: p.deaths}
	hope := false
	for _, s := range p.slots {
		if s.handler != nil {
			st.Alive++
		}
		hope = hope || s.promises()
	}
	switch {
	case p.closing:
		st.Reason = "it is being unloaded"
	case p.up && hope:
		st.State, st.Reason = Ready, ""
	case !p.up && p.deaths == 0:
		st.State = Loading
	}
	return st
}

// Forget tells all handlers that a file is not used any more.
func (p *Pool) Forget(key uint64) {
	p.mu.Lock()
	var forget []interface{ Forget(key uint64) }
	for _, s := range p.slots {
		if f, ok := s.handler.(interface{ Forget(key uint64) }); ok {
			forget = append(forget, f)
		}
	}
	p.mu.Unlock()
	for _, f := range forget {
		f.Forget(key)
	}
}

// Close starts nothing any more, waits for the calls that run until the context is over,
// closes the handlers and returns when they are gone. It is called once.
func (p *Pool) Close(ctx context.Context) {
	p.change(func() { p.closing, p.drained = true, ctx })
	p.cancel()
	p.done.Wait()
	close(p.changed)
	<-p.told
}

// attended is a handler whose answers are noticed.
type attended struct {
	Handler
	well func()
}

// Infer is the handler's.
func (a *attended) Infer(ctx context.Context, req *Request, emit func(*Response) error) error {
	err := a.Handler.Infer(ctx, req, emit)
	var said *CallError
	if err == nil || errors.As(err, &said) {
		a.well()
	}
	return err
}
