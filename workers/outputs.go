// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"fmt"
	"slices"
	"time"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/handler"
)

// respond gives a handler's response to the calls of the execution, each its rows.
func (e *execution) respond(r *handler.Response) error {
	start := time.Now()
	defer func() { e.timing.output += since(start) }()
	e.answers++
	if !e.spec.Decoupled && e.answers > 1 {
		return fmt.Errorf("%w: more than one response to a call", ErrOutput)
	}
	var bytes int64
	for i := range r.Outputs {
		out := &r.Outputs[i]
		if e.rows > 0 && (len(out.Shape) == 0 || out.Shape[0] != int64(e.rows)) {
			return fmt.Errorf("%w: %s has the shape %v, a batch of %d needs that many rows", ErrOutput, out.Name, out.Shape, e.rows)
		}
		if out.Data() != nil { // else it lies in a caller's file
			bytes += aligned(out.Bytes)
		}
	}
	e.model.learn(bytes, max(e.rows, 1))
	row := 0
	for _, c := range e.calls {
		a, err := e.answerOf(c.Call, r, row, c.Rows)
		row += c.Rows
		if err != nil {
			c.Call.end(err)
			continue
		}
		if err := c.Call.answered(a); err != nil {
			c.Call.end(err)
			if len(e.calls) == 1 {
				return err
			}
		}
	}
	return nil
}

// answerOf makes a call's answer of its rows of a response.
func (e *execution) answerOf(p *pending, r *handler.Response, row, rows int) (*answer, error) {
	a := &answer{final: r.Final}
	give := func(t *handler.Tensor, ref *call.Ref, i int) error {
		out, err := e.outputOf(p, t, row, rows)
		if err != nil {
			return err
		}
		if ref != nil {
			if err := p.refs.deliver(i, &out, t); err != nil {
				return fmt.Errorf("output %s: %w", t.Name, err)
			}
			out.data, out.ref = nil, ref
		} else if len(out.data) > 0 {
			if err := a.share(e, t.Place, &out); err != nil {
				return err
			}
		}
		a.outputs = append(a.outputs, out)
		return nil
	}
	fail := func(err error) (*answer, error) {
		a.release()
		return nil, err
	}
	if p.req.Outputs == nil {
		for i := range r.Outputs {
			if err := give(&r.Outputs[i], nil, i); err != nil {
				return fail(err)
			}
		}
		return a, nil
	}
	for i, want := range p.req.Outputs {
		at := slices.IndexFunc(r.Outputs, func(t handler.Tensor) bool { return t.Name == want.Name })
		if at < 0 {
			return fail(fmt.Errorf("%w: it has no output %q", ErrOutput, want.Name))
		}
		if err := give(&r.Outputs[at], want.Ref, i); err != nil {
			return fail(err)
		}
	}
	return a, nil
}

// outputOf is a call's part of an output.
func (e *execution) outputOf(p *pending, t *handler.Tensor, row, rows int) (output, error) {
	out := output{Tensor: t.Tensor, size: t.Bytes}
	out.data = t.Data()
	out.Shape = slices.Clone(t.Shape) // t is the handler's
	if len(e.calls) == 1 {
		return out, nil
	}
	out.Shape[0] = int64(rows)
	from, to, err := call.RowRange(t.Tensor, out.data, row, rows)
	if err != nil {
		return out, fmt.Errorf("%w: %s: %w", ErrOutput, t.Name, err)
	}
	out.data = out.data[from:to:to]
	out.size = int64(len(out.data))
	return out, nil
}

// share keeps the region that an output lies in for as long as the answer shows it. What
// lies in no region is the handler's again when respond returns: it is copied.
func (a *answer) share(e *execution, p handler.Place, out *output) error {
	h := e.holding(p)
	switch {
	case h == nil:
		out.data = slices.Clone(out.data)
	case a.hold == nil:
		a.hold = h
	case a.hold == h:
		h.release() // one share is enough
	default:
		h.release()
		return fmt.Errorf("%w: outputs of one response lie in two regions", ErrOutput)
	}
	return nil
}

// learn notes how much room the outputs of so many rows took.
func (m *model) learn(bytes int64, rows int) {
	each := (bytes + int64(rows) - 1) / int64(rows)
	for {
		known := m.outputBytes.Load()
		if each <= known || m.outputBytes.CompareAndSwap(known, each) {
			return
		}
	}
}

// guess is how much room the outputs of so many rows will take, by what was seen: a
// handler asks for more when it needs that. That costs little beside a large output; a
// large guess costs all later calls memory, for one that gave much.
func (m *model) guess(rows int) int64 {
	const least, most = 4 << 10, 4 << 20
	return min(max(m.outputBytes.Load()*int64(rows)+align, least), most)
}
