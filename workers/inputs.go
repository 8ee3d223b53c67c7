// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"fmt"
	"slices"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/handler"
)

// align is where a tensor begins in a region: at a cache line.
const align = 64

// mostBytes is more than anybody has, and little enough to be added to itself.
const mostBytes = 1 << 56

func aligned(n int64) int64 { return (n + align - 1) &^ (align - 1) }

// request makes what the handler gets: inputs side by side in one region, joined along
// the first dimension where they are a batch. What is by reference stays where it lies,
// but for system shared memory, which its owner can shrink: that is copied.
func (e *execution) request() (*handler.Request, error) {
	first := e.calls[0].Call
	req := &handler.Request{
		Rows: e.rows, Room: e.room, Released: e.letGo, Deadline: e.deadline(),
		Parameters: first.req.Parameters, // which calls that are joined have in common
		Inputs:     make([]handler.Tensor, len(first.req.Inputs)),
	}
	var total int64
	for i := range first.req.Inputs {
		in := &first.req.Inputs[i]
		req.Inputs[i].Tensor = in.Tensor
		if len(e.calls) > 1 {
			shape := slices.Clone(in.Shape)
			shape[0] = int64(e.rows)
			req.Inputs[i].Shape = shape
		}
		if place, ok := first.refs.input(i); ok && place.File != nil {
			req.Inputs[i].Place = place
			continue
		}
		for _, c := range e.calls {
			// Each is at most what a file can have, which is nearly all that 63 bits can count.
			bytes := c.Call.inputBytes(i)
			req.Inputs[i].Bytes += bytes
			if bytes > mostBytes || total > mostBytes {
				return nil, fmt.Errorf("%w: the inputs have more than %d bytes", ErrRoom, mostBytes)
			}
			total += bytes
		}
		total = aligned(total)
	}
	if total > 0 {
		if err := e.fill(req, total); err != nil {
			return nil, err
		}
	}
	e.ask(req)
	// Without it the handler asks for what it needs.
	req.First, _ = e.room(e.model.guess(max(e.rows, 1)))
	return req, nil
}

// mostAhead is how many bytes of inputs a call has at most that is copied into the arena
// while its handler is at another one.
const mostAhead = 1 << 20

func (p *pending) small() bool {
	var total int64
	for i := range p.req.Inputs {
		if n := p.req.Inputs[i].Bytes; n > 0 {
			total += min(n, mostBytes)
		}
	}
	return total <= mostAhead
}

// inputBytes is how many bytes an input has, wherever they lie.
func (p *pending) inputBytes(i int) int64 {
	if n := p.req.Inputs[i].Bytes; n >= 0 {
		return n
	}
	place, _ := p.refs.input(i)
	return place.Bytes
}

// fill copies the inputs into a region of their own.
func (e *execution) fill(req *handler.Request, total int64) error {
	h, err := e.model.server.take(total)
	if err != nil {
		return err
	}
	e.keep(h)
	region := h.region.Place
	var at int64
	for i := range req.Inputs {
		in := &req.Inputs[i]
		if in.File != nil {
			continue
		}
		in.Place = handler.Place{File: region.File, Offset: region.Offset + at, Bytes: in.Bytes}
		at += aligned(in.Bytes)
		to := in.Data()
		for _, c := range e.calls {
			n, err := c.Call.copyInput(i, to)
			if err != nil {
				return fmt.Errorf("input %s: %w", in.Name, err)
			}
			to = to[n:]
		}
	}
	return nil
}

// copyInput copies an input's bytes, wherever they lie.
func (p *pending) copyInput(i int, to []byte) (int64, error) {
	if p.refs.has(i) {
		return p.refs.read(i, to)
	}
	var n int64
	for _, piece := range p.req.Inputs[i].Raw {
		n += int64(copy(to[n:], piece))
	}
	return n, nil
}

// ask lists the outputs that are asked for: of a batch all that any of its calls wants.
func (e *execution) ask(req *handler.Request) {
	for _, c := range e.calls {
		p := c.Call
		if p.req.Outputs == nil {
			req.Outputs = nil
			return
		}
		for i, out := range p.req.Outputs {
			if slices.ContainsFunc(req.Outputs, func(t handler.Tensor) bool { return t.Name == out.Name }) {
				continue
			}
			t := handler.Tensor{Tensor: call.Tensor{Name: out.Name}}
			if place, ok := p.refs.output(i); ok && place.File != nil {
				t.Place = place
			}
			req.Outputs = append(req.Outputs, t)
		}
	}
}

// kindOf says what a call can be joined with: nothing, where something is by reference, or
// where it may kill the handler, and others with it.
func kindOf(p *pending, spec handler.Spec) string {
	if spec.MaxBatch <= 0 || p.refs.any() || p.repeated {
		return ""
	}
	return call.Kind(p.req)
}
