// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/handler"
	"github.com/modelfs/modelfs/workers/inference"
	"github.com/modelfs/modelfs/workers/internal/wire"
)

// ModelInfer answers one call.
func (s *Server) ModelInfer(ctx context.Context, in *wire.InferRequest) (*wire.InferResponse, error) {
	s.calls.begin()
	defer s.calls.end()
	start := time.Now()
	var got *answer
	p, m, err := s.accept(ctx, in, func(a *answer) error { got = a; return nil }, false)
	if err != nil {
		return nil, failure(err)
	}
	err = p.wait(ctx)
	if err != nil {
		if got != nil { // some handlers fail after their answer
			got.release()
		}
		m.stats.ended(err, since(start))
		discourage(p, err)
		return nil, failure(err)
	}
	out := p.encode(got)
	took := since(start)
	m.stats.ended(nil, took)
	m.stats.own.add(took - p.waited - p.ran)
	return out, nil
}

// discourage has gRPC not repeat a call once more whose handler died a second time: it may
// be the call that kills them. See ErrDeadly for one that surely is.
func discourage(p *pending, err error) {
	if p.repeated && errors.Is(err, handler.ErrGone) {
		_ = grpc.SetTrailer(p.ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1")) // it fails outside of a call
	}
}

// repeated says whether a call was made before: gRPC says so of its retries.
func repeated(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, "grpc-previous-rpc-attempts")) > 0
}

// accept checks a call, opens what it refers to, and puts it into its model's queue. The
// raw contents are free when the call is over, or on an error.
func (s *Server) accept(ctx context.Context, in *wire.InferRequest, answered func(*answer) error, stream bool) (*pending, *model, error) {
	p := &pending{ctx: ctx, repeated: repeated(ctx), answered: answered, free: in.Free, ended: make(chan struct{})}
	m, err := s.enqueue(p, in, stream)
	if err != nil {
		p.refs.close()
		in.Free()
		if m != nil {
			m.stats.fail.add(0)
		}
	}
	return p, m, err
}

func (s *Server) enqueue(p *pending, in *wire.InferRequest, stream bool) (m *model, err error) {
	if p.caller, err = s.cfg.Callers(p.ctx); err != nil {
		return nil, err
	}
	if p.req, err = call.Parse(in.Message, in.Pieces()); err != nil {
		return nil, err
	}
	if m, err = s.model(p.req.Model, p.req.Version); err != nil {
		return nil, err
	}
	run, spec, err := m.ready()
	if err != nil {
		return m, err
	}
	if s.draining.Load() { // what comes before gRPC has told its client
		return m, fmt.Errorf("%s: %w: %s", m.cfg.Name, ErrNotReady, shuttingDown)
	}
	if spec.Decoupled && !stream {
		return m, fmt.Errorf("%s answers any number of times: call it by ModelStreamInfer: %w", m.cfg.Name, ErrUnsupported)
	}
	if err := call.Check(p.req, spec.Inputs, spec.MaxBatch > 0); err != nil {
		return m, err
	}
	if err := call.CheckOutputs(p.req, spec.Outputs); err != nil {
		return m, err
	}
	if err := s.open(p.ctx, p); err != nil {
		return m, err
	}
	rows := 1
	if spec.MaxBatch > 0 {
		if rows = call.Rows(p.req); rows < 1 || rows > spec.MaxBatch {
			return m, fmt.Errorf("%s: %d rows: %w: its batches have 1 to %d", m.cfg.Name, rows, batch.ErrTooLarge, spec.MaxBatch)
		}
	}
	p.item = batch.Item[*pending]{
		Call: p, Context: p.ctx, Kind: kindOf(p, spec), Rows: rows, Here: !stream, Ahead: p.small(),
		Caller: p.caller.Key, Priority: p.req.Priority, Timeout: p.req.Timeout,
		Dropped: func(err error) {
			p.free()
			p.refs.close()
			p.end(err)
		},
	}
	return m, run.queue.Push(p.item)
}

// wait waits for the end of a call, or of whoever waits for it: what the call has is
// given back by who runs it.
func (p *pending) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
	}
	// It leaves the queue by itself, or the handler is told.
	<-p.ended
	if p.err == nil {
		return nil
	}
	return ctx.Err()
}

// encode makes the response of an answer; it shows the answer's memory until it is
// written.
func (p *pending) encode(a *answer) *wire.InferResponse {
	out := &wire.InferResponse{Message: &inference.ModelInferResponse{
		ModelName: p.req.Model, ModelVersion: version, Id: p.req.ID,
		Outputs: make([]*inference.ModelInferResponse_InferOutputTensor, len(a.outputs)),
	}, Raw: make([]wire.Raw, len(a.outputs))}
	for i := range a.outputs {
		o := &a.outputs[i]
		t := &inference.ModelInferResponse_InferOutputTensor{Name: o.Name, Datatype: o.Datatype.String(), Shape: o.Shape}
		if o.ref != nil {
			t.Parameters = whereabouts(o.ref, o.size)
		}
		out.Message.Outputs[i] = t
		if a.hold == nil || len(o.data) == 0 {
			out.Raw[i] = wire.Borrow(o.data, nil)
			continue
		}
		a.hold.take()
		out.Raw[i] = wire.Borrow(o.data, a.hold.release)
	}
	a.release()
	return out
}

// whereabouts says where an output went: as the request did.
func whereabouts(r *call.Ref, size int64) map[string]*inference.InferParameter {
	text := func(s string) *inference.InferParameter {
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: s}}
	}
	number := func(n int64) *inference.InferParameter {
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: n}}
	}
	if r.Region != "" {
		out := map[string]*inference.InferParameter{"shared_memory_region": text(r.Region), "shared_memory_byte_size": number(size)}
		if r.Offset != 0 {
			out["shared_memory_offset"] = number(r.Offset)
		}
		return out
	}
	out := map[string]*inference.InferParameter{"modelfs_path": text(r.Path), "modelfs_byte_size": number(size)}
	if r.Offset != 0 {
		out["modelfs_offset"] = number(r.Offset)
	}
	return out
}
