// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/handler"
)

// execution is one run of a handler: of a call, or of several that were joined.
type execution struct {
	model *model
	spec  handler.Spec
	calls []batch.Taken[*pending]
	rows  int // 0: not a batch

	mu      sync.Mutex    // Room is called by the handler's goroutines
	regions []*hold       // guarded by mu
	output  *hold         // guarded by mu: the one of regions that room took last
	over    bool          // guarded by mu: the handler has let go
	free    chan struct{} // closed then

	ready   time.Time     // when the handler was given it
	ahead   time.Duration // for which it lay there until the handler came to it
	answers int
	timing  timing
}

// execute runs one batch, and says whether the handler is gone. All calls of it have
// ended then, or are in the queue again, if the handler had not come to them; where the
// handler still has one that was cancelled, later is closed when it has let go of it.
func (m *model) execute(q *batch.Queue[*pending], h handler.Handler, b batch.Batch[*pending]) (gone bool, later <-chan struct{}) {
	e := &execution{model: m, spec: h.Spec(), calls: b.Items, free: make(chan struct{})}
	if e.spec.MaxBatch > 0 {
		e.rows = b.Rows
	}
	start := time.Now()
	for _, c := range e.calls {
		c.Call.waited += c.Waited
	}
	req, err := e.prepared()
	if err != nil {
		e.letGo()
		e.end(err)
		e.close()
		return false, nil
	}
	ctx, cancel := e.context()
	defer cancel()
	e.ready = time.Now()
	e.timing.input = e.ready.Sub(start)
	err = h.Infer(ctx, req, e.given)
	if errors.Is(err, handler.ErrNotBegun) {
		e.again(q, err)
		return true, nil
	}
	if e.deadly(err) {
		err = fmt.Errorf("%s: %w: %w", m.cfg.Name, ErrDeadly, err)
	}
	e.timing.infer = since(e.ready) - e.timing.output - e.ahead
	if err == nil && e.answers == 0 && !e.spec.Decoupled {
		err = fmt.Errorf("%w: none", ErrOutput)
	}
	if err == nil {
		m.stats.executed(len(e.calls), e.rows, e.timing)
	}
	e.end(err)
	gone = errors.Is(err, handler.ErrGone) || errors.Is(err, handler.ErrProtocol)
	select {
	case <-e.free:
		e.close()
		return gone, nil
	default:
	}
	let := make(chan struct{})
	go func() {
		defer close(let)
		<-e.free
		e.close()
	}()
	return gone, let
}

// deadly says that the handler died at a call that was made before, when it was at no
// other, and not because the model is unloaded.
func (e *execution) deadly(err error) bool {
	alone := e.spec.Concurrency <= 1 && len(e.calls) == 1
	return errors.Is(err, handler.ErrGone) && alone && e.calls[0].Call.repeated && e.model.current() != nil
}

// prepared is request, and given is respond: a fault in them fails the calls alone.
func (e *execution) prepared() (req *handler.Request, err error) {
	defer e.model.server.recovered("the inputs of "+e.model.cfg.Name, &err)
	return e.request()
}

func (e *execution) given(r *handler.Response) (err error) {
	defer e.model.server.recovered("the outputs of "+e.model.cfg.Name, &err)
	if r.Began.After(e.ready) {
		e.ahead = r.Began.Sub(e.ready)
	}
	return e.respond(r)
}

// close closes what the calls referred to.
func (e *execution) close() {
	for _, c := range e.calls {
		c.Call.refs.close()
	}
}

// end ends all calls of the execution.
func (e *execution) end(err error) {
	for _, c := range e.calls {
		p := c.Call
		p.waited += e.ahead
		p.ran = e.timing.infer
		e.model.stats.queue.add(p.waited)
		p.free()
		p.end(err)
	}
}

// again puts the calls back into the queue: nothing has happened to them. A queue that
// takes none any more ends them, for the reason that brought them here.
func (e *execution) again(q *batch.Queue[*pending], why error) {
	for _, c := range e.calls {
		item := c.Call.item
		item.Here = false
		if err := q.Push(item); err != nil {
			if c.Call.ctx.Err() == nil {
				err = why
			}
			c.Call.refs.close()
			c.Call.free()
			c.Call.end(err)
		}
	}
}

// context ends when nobody waits any more: all calls were cancelled.
func (e *execution) context() (context.Context, func()) {
	if len(e.calls) == 1 {
		return e.calls[0].Call.ctx, func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var left atomic.Int32
	left.Store(int32(len(e.calls)))
	stops := make([]func() bool, 0, len(e.calls))
	for _, c := range e.calls {
		stops = append(stops, context.AfterFunc(c.Call.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		}))
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// deadline is when the last of the calls has no use for an answer; zero: never.
func (e *execution) deadline() time.Time {
	var last time.Time
	for _, c := range e.calls {
		d, ok := c.Call.ctx.Deadline()
		if !ok {
			return time.Time{}
		}
		if d.After(last) {
			last = d
		}
	}
	return last
}

// room takes memory for outputs: it is what the next response lies in. What it took
// before is free with the last response that shows a part of it.
func (e *execution) room(bytes int64) (handler.Place, error) {
	h, err := e.model.server.take(bytes)
	if err != nil {
		return handler.Place{}, err
	}
	e.mu.Lock()
	before, over := e.output, e.over
	switch {
	case over:
		before = h
	default:
		e.regions = append(slices.DeleteFunc(e.regions, func(r *hold) bool { return r == before }), h)
		e.output = h
	}
	e.mu.Unlock()
	if before != nil {
		before.release()
	}
	if over {
		return handler.Place{}, fmt.Errorf("%w: the call is over", ErrRoom)
	}
	return h.region.Place, nil
}

// keep has a region freed when the handler lets go.
func (e *execution) keep(h *hold) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.regions = append(e.regions, h)
}

// letGo follows the handler's last look at the execution's memory.
func (e *execution) letGo() {
	e.mu.Lock()
	regions := e.regions
	first := !e.over
	e.regions, e.output, e.over = nil, nil, true
	e.mu.Unlock()
	if first {
		close(e.free)
	}
	for _, h := range regions {
		h.release()
	}
}

// holding takes a share of the region that a place lies in; nil if it is none of the
// execution's.
func (e *execution) holding(p handler.Place) *hold {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.regions {
		if h.has(p) {
			h.take()
			return h
		}
	}
	return nil
}
