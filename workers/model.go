// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/handler"
)

// version is the only one that a model has: what it is called with is the mount's
// current generation.
const version = "1"

// ModelConfig is what one model is served with.
type ModelConfig struct {
	Name string
	// Start starts one handler of it; index counts them from 0. The handler's Spec is
	// the same each time.
	Start func(ctx context.Context, index int) (handler.Handler, error)
	// Handlers is how many run at a time; at least 1.
	Handlers int
	// Queue says what waits and what goes together. Its MaxBatch is what is wanted: the
	// model's own limit holds as well.
	Queue batch.Config
	// Decoupled, Concurrency and the like are the handler's to say: see handler.Spec.
}

// model is one that is served: a queue, and a pool of handlers that take from it.
type model struct {
	server *Server
	cfg    ModelConfig
	stats  *statistics

	outputBytes atomic.Int64 // the most that the outputs of one row took

	mu    sync.Mutex
	run   *running      // guarded by mu; nil: unloaded
	ended string        // guarded by mu: why it is unloaded
	gone  chan struct{} // guarded by mu: closed when all that was unloaded has ended; nil: nothing was
}

// running is a model between load and unload.
type running struct {
	queue *batch.Queue[*pending]
	pool  *handler.Pool
}

func newModel(s *Server, cfg ModelConfig) *model {
	cfg.Handlers = max(cfg.Handlers, 1)
	return &model{server: s, cfg: cfg, stats: newStatistics(), ended: "not loaded"}
}

// load starts the handlers, if they are not; it does not wait for them. A server that
// ends starts nothing.
func (m *model) load() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run != nil {
		return
	}
	if m.server.draining.Load() { // before its end unloads all
		m.ended = shuttingDown
		return
	}
	r := &running{queue: batch.New[*pending](m.cfg.Queue)}
	r.pool = handler.NewPool(handler.PoolConfig{
		Handlers: m.cfg.Handlers,
		Start:    m.cfg.Start,
		Work:     func(ctx context.Context, h handler.Handler) { m.work(ctx, r.queue, h) },
		Changed:  func(handler.Status) { m.server.changed(m) },
		Log:      m.server.cfg.Log.With("model", m.cfg.Name),
	})
	m.run = r
}

// unload lets what waits be answered until the context ends, then ends the handlers. It
// returns when they have ended, also if somebody else has unloaded them.
func (m *model) unload(ctx context.Context, why string) {
	m.mu.Lock()
	r, before := m.run, m.gone
	m.run, m.ended = nil, why
	var gone chan struct{}
	if r != nil {
		gone = make(chan struct{})
		m.gone = gone
	}
	m.mu.Unlock()
	defer func() {
		if before != nil {
			<-before
		}
		if gone != nil {
			close(gone)
		}
	}()
	if r == nil {
		return
	}
	m.server.changed(m)
	_ = r.queue.Drain(ctx) // what is left is told below
	r.queue.Close()
	r.pool.Close(ctx)
	m.server.changed(m)
}

// state says whether the model can be called, and if not, why.
func (m *model) state() handler.Status {
	m.mu.Lock()
	r, why := m.run, m.ended
	m.mu.Unlock()
	if r == nil {
		return handler.Status{State: handler.Unavailable, Reason: why}
	}
	return r.pool.Status()
}

func (m *model) depth() int {
	if r := m.current(); r != nil {
		return r.queue.Depth()
	}
	return 0
}

func (m *model) current() *running {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.run
}

// ready returns what takes calls, and what the model takes and gives.
func (m *model) ready() (*running, handler.Spec, error) {
	m.mu.Lock()
	r, why := m.run, m.ended
	m.mu.Unlock()
	if r == nil {
		return nil, handler.Spec{}, fmt.Errorf("%s: %w: %s", m.cfg.Name, ErrNotReady, why)
	}
	st := r.pool.Status()
	// A model whose handler is being replaced takes calls: they wait for the next one.
	if st.State != handler.Ready {
		return nil, handler.Spec{}, fmt.Errorf("%s: %w: %s", m.cfg.Name, ErrNotReady, reasonOf(st))
	}
	return r, st.Spec, nil
}

func reasonOf(st handler.Status) string {
	if st.Reason != "" {
		return st.Reason
	}
	return "it is loading"
}

// work runs the batches that one handler gets, until it or the model ends.
func (m *model) work(ctx context.Context, q *batch.Queue[*pending], h handler.Handler) {
	spec := h.Spec()
	w := batch.Worker[*pending]{
		Most: spec.MaxBatch, Lanes: spec.Concurrency,
		Run: func(b batch.Batch[*pending]) (gone bool, later <-chan struct{}) { return m.execute(q, h, b) },
	}
	if min(spec.MaxBatch, m.cfg.Queue.MaxBatch) <= 1 { // else what waits goes together
		w.Ahead = spec.Ahead
	}
	q.Work(ctx, w)
}

// since is a duration that is never negative.
func since(t time.Time) time.Duration { return max(time.Since(t), 0) }
