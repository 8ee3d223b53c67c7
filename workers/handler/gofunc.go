// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/modelfs/modelfs/workers/call"
)

// Array is a tensor with its bytes.
type Array struct {
	call.Tensor
	Data []byte
}

const align = 64 // of outputs in a region

// Func makes a handler of a Go function, for programs that embed the server with a model
// of their own. What f is given is valid, and not to be written, until it returns; what it
// returns is copied. Its errors: a *CallError as it is, the context's, all others as
// INTERNAL. A panic is an INTERNAL error of the call.
func Func(spec Spec, f func(ctx context.Context, inputs []Array, parameters map[string]any) ([]Array, error)) Handler {
	spec.Concurrency, spec.Ahead = max(spec.Concurrency, 1), 0
	if spec.Platform == "" {
		spec.Platform = "go"
	}
	return &gofunc{spec: spec, f: f, slots: make(chan struct{}, spec.Concurrency)}
}

type gofunc struct {
	spec  Spec
	f     func(context.Context, []Array, map[string]any) ([]Array, error)
	slots chan struct{}
	done  sync.WaitGroup // calls that run
}

func (g *gofunc) Spec() Spec { return g.spec }

// Close waits for the calls that run.
func (g *gofunc) Close() error {
	g.done.Wait()
	return nil
}

// Infer runs the function. Where that does not look at its context, and the request can be
// left to it, Infer returns when the context is over all the same.
func (g *gofunc) Infer(ctx context.Context, req *Request, emit func(*Response) error) error {
	released := req.Released
	if released == nil {
		released = func() {}
	}
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		released()
		return ctx.Err()
	}
	type made struct {
		outputs []Array
		err     error
	}
	ran := make(chan made, 1)
	g.done.Go(func() {
		outputs, err := g.call(ctx, req)
		ran <- made{outputs, err}
	})
	end := func() { <-g.slots; released() }
	if req.Released == nil {
		m := <-ran
		defer end()
		return g.answer(req, m.outputs, m.err, emit)
	}
	select {
	case m := <-ran:
		defer end()
		return g.answer(req, m.outputs, m.err, emit)
	case <-ctx.Done():
		go func() { <-ran; end() }()
		return ctx.Err()
	}
}

// call runs the function on the inputs' bytes.
func (g *gofunc) call(ctx context.Context, req *Request) (outputs []Array, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	inputs := make([]Array, 0, len(req.Inputs))
	for _, t := range req.Inputs {
		data := t.Data()
		if data == nil && t.Bytes > 0 { // a client's, which is never mapped here
			data = make([]byte, t.Bytes)
			if _, err := t.File.FD.ReadAt(data, t.Offset); err != nil {
				return nil, &CallError{invalidCode, fmt.Sprintf("input %q: its %d bytes are not all there: %v", t.Name, t.Bytes, err)}
			}
			if n, ok := elements(t.Shape); t.Datatype == call.BYTES && (!ok || framed(data, n) != nil) {
				return nil, &CallError{invalidCode, fmt.Sprintf("input %q: its bytes are not %v elements with their lengths", t.Name, t.Shape)}
			}
		}
		inputs = append(inputs, Array{t.Tensor, data})
	}
	return g.f(ctx, inputs, req.Parameters)
}

// answer copies the outputs to where they belong.
func (g *gofunc) answer(req *Request, outputs []Array, err error, emit func(*Response) error) error {
	var said *CallError
	switch {
	case err == nil:
	case errors.As(err, &said), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		return &CallError{internalCode, err.Error()}
	}
	response := &Response{Final: true}
	var need int64
	for i, o := range outputs {
		if slices.ContainsFunc(outputs[:i], func(other Array) bool { return other.Name == o.Name }) {
			return &CallError{internalCode, fmt.Sprintf("the model gave %q twice", o.Name)} // one would show what lay there before
		}
		t := Tensor{Tensor: o.Tensor, Place: Place{Bytes: int64(len(o.Data))}}
		if req.Outputs != nil {
			i := slices.IndexFunc(req.Outputs, func(asked Tensor) bool { return asked.Name == o.Name })
			if i < 0 {
				continue
			}
			t.File, t.Offset = req.Outputs[i].File, req.Outputs[i].Offset
			if t.File != nil && t.Bytes > req.Outputs[i].Bytes {
				return &CallError{exhaustedCode, fmt.Sprintf("output %q has %d bytes, and the place that it is to go to %d", o.Name, t.Bytes, req.Outputs[i].Bytes)}
			}
		}
		if t.File == nil {
			need += (t.Bytes + align - 1) &^ (align - 1)
		}
		response.Outputs = append(response.Outputs, t)
	}
	for _, asked := range req.Outputs {
		if !slices.ContainsFunc(response.Outputs, func(t Tensor) bool { return t.Name == asked.Name }) {
			return &CallError{internalCode, fmt.Sprintf("the model gave no %q, which was asked for", asked.Name)}
		}
	}
	region := req.First
	if need > region.Bytes {
		if req.Room == nil {
			return &CallError{exhaustedCode, fmt.Sprintf("the outputs need %d bytes, and there is no room for them", need)}
		}
		if region, err = req.Room(need); err != nil {
			return err
		}
	}
	if err := put(response.Outputs, outputs, region); err != nil {
		return err
	}
	for i := range response.Outputs {
		if err := g.sound(&response.Outputs[i], req.Rows); err != nil {
			return &CallError{internalCode, fmt.Sprintf("the model's output %q: %v", response.Outputs[i].Name, err)}
		}
	}
	return emit(response)
}

// put copies bytes to the tensors' places, or gives them one in the region.
func put(tensors []Tensor, outputs []Array, region Place) error {
	at := region.Offset
	for i := range tensors {
		t := &tensors[i]
		data := outputs[slices.IndexFunc(outputs, func(o Array) bool { return o.Name == t.Name })].Data
		if len(data) == 0 {
			t.Place = Place{}
			continue
		}
		if t.File == nil {
			t.File, t.Offset = region.File, at
			at += (t.Bytes + align - 1) &^ (align - 1)
		}
		if to := t.Data(); to != nil {
			copy(to, data)
		} else if _, err := io.NewOffsetWriter(t.File.FD, t.Offset).Write(data); err != nil {
			return &CallError{exhaustedCode, fmt.Sprintf("output %q: %v", t.Name, err)}
		}
	}
	return nil
}

// sound checks an output against what the model gives, and its shape against its bytes, as
// for what comes from a process.
func (g *gofunc) sound(t *Tensor, rows int) error {
	if !t.Datatype.Valid() {
		return fmt.Errorf("datatype %d", t.Datatype)
	}
	shape := t.Shape
	if rows > 0 {
		if len(shape) == 0 || shape[0] != int64(rows) {
			return fmt.Errorf("shape %v for a batch of %d rows", shape, rows)
		}
		shape = shape[1:]
	}
	if i := slices.IndexFunc(g.spec.Outputs, func(declared call.Tensor) bool { return declared.Name == t.Name }); i >= 0 {
		declared := &g.spec.Outputs[i]
		if t.Datatype != declared.Datatype || !slices.EqualFunc(declared.Shape, shape, func(want, n int64) bool { return want < 0 || want == n }) {
			return fmt.Errorf("%v %v, and the model says %v %v", shape, t.Datatype, declared.Shape, declared.Datatype)
		}
	}
	n, ok := elements(t.Shape)
	if size := int64(t.Datatype.Size()); !ok || size > 0 && (n > (1<<62)/size || n*size != t.Bytes) {
		return fmt.Errorf("%d bytes of %v %v", t.Bytes, t.Shape, t.Datatype)
	}
	if t.Datatype == call.BYTES {
		return framed(t.Data(), n)
	}
	return nil
}
