// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"fmt"

	"github.com/modelfs/modelfs/workers/handler"
	"github.com/modelfs/modelfs/workers/reference"
)

// references are what a call named instead of sending it, opened as its caller.
type references struct {
	inputs, outputs []reference.Opened // one for each tensor; nil: none has any
}

func (r *references) any() bool { return r.inputs != nil || r.outputs != nil }

func (r *references) has(i int) bool { return i < len(r.inputs) && r.inputs[i] != nil }

// input is where an input lies; a place without a file is for reading only, by read.
func (r *references) input(i int) (handler.Place, bool) { return placeOf(r.inputs, i) }

func (r *references) output(i int) (handler.Place, bool) { return placeOf(r.outputs, i) }

func placeOf(list []reference.Opened, i int) (handler.Place, bool) {
	if i >= len(list) || list[i] == nil {
		return handler.Place{}, false
	}
	return list[i].Place(), true
}

func (r *references) read(i int, to []byte) (int64, error) { return r.inputs[i].Read(to) }

// deliver puts an output where it was asked for: it is there if the handler could write
// it itself.
func (r *references) deliver(i int, out *output, t *handler.Tensor) error {
	to := r.outputs[i]
	if err := to.Fits(out.Tensor, out.size); err != nil {
		return err
	}
	if place := to.Place(); place.File != nil && t.File == place.File {
		return nil
	}
	return to.Write(out.data)
}

// close lets go of what was opened; it may be called again.
func (r *references) close() {
	for _, list := range [][]reference.Opened{r.inputs, r.outputs} {
		for _, o := range list {
			if o != nil {
				_ = o.Close()
			}
		}
	}
	r.inputs, r.outputs = nil, nil
}

// open opens all that a call refers to.
func (s *Server) open(ctx context.Context, p *pending) error {
	for i := range p.req.Inputs {
		in := &p.req.Inputs[i]
		if in.Ref == nil {
			continue
		}
		if p.refs.inputs == nil {
			p.refs.inputs = make([]reference.Opened, len(p.req.Inputs))
		}
		o, err := s.cfg.References.Input(ctx, p.caller, in.Tensor, *in.Ref)
		if err != nil {
			return fmt.Errorf("input %s: %w", in.Name, err)
		}
		p.refs.inputs[i] = o
	}
	for i := range p.req.Outputs {
		out := &p.req.Outputs[i]
		if out.Ref == nil {
			continue
		}
		if p.refs.outputs == nil {
			p.refs.outputs = make([]reference.Opened, len(p.req.Outputs))
		}
		o, err := s.cfg.References.Output(ctx, p.caller, *out.Ref)
		if err != nil {
			return fmt.Errorf("output %s: %w", out.Name, err)
		}
		p.refs.outputs[i] = o
	}
	return nil
}
