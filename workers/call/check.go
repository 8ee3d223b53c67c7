// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"fmt"
	"slices"
	"strings"
)

// Check says what of a request's inputs is not as its model takes them: one that is
// missing or unknown, a datatype, how many dimensions, or one of them; -1 is any. With
// batched, requests have one dimension more, the first, the same in all inputs, at least
// 1. A model that says nothing of its inputs takes everything that has rows, if batched.
// The error is an *Error.
func Check(r *Request, inputs []Tensor, batched bool) error {
	if len(inputs) == 0 {
		return checkRows(r, batched)
	}
	for i := range r.Inputs {
		in := &r.Inputs[i]
		at := find(inputs, i, in.Name)
		if at < 0 {
			return in.wrong("%s has no such input; it has %s", r.Model, names(inputs))
		}
		if err := in.fits(&inputs[at], batched); err != nil {
			return err
		}
		if batched && in.Shape[0] != r.Inputs[0].Shape[0] {
			return in.wrong("%d rows, input %q has %d: all have the same", in.Shape[0], r.Inputs[0].Name, r.Inputs[0].Shape[0])
		}
	}
	if len(r.Inputs) == len(inputs) { // names are unique: none is missing
		return nil
	}
	for i := range inputs {
		if !slices.ContainsFunc(r.Inputs, func(in Input) bool { return in.Name == inputs[i].Name }) {
			return &Error{fmt.Sprintf("input %q", inputs[i].Name), fmt.Sprintf("it is missing: %s takes %s", r.Model, names(inputs))}
		}
	}
	return nil
}

// checkRows is Check for a model that says nothing of its inputs.
func checkRows(r *Request, batched bool) error {
	if !batched {
		return nil
	}
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if len(in.Shape) == 0 || in.Shape[0] == 0 {
			return in.wrong("shape %s has no rows, and the model takes batches", shapeText(in.Shape))
		}
		if in.Shape[0] != r.Inputs[0].Shape[0] {
			return in.wrong("%d rows, input %q has %d: all have the same", in.Shape[0], r.Inputs[0].Name, r.Inputs[0].Shape[0])
		}
	}
	return nil
}

// CheckOutputs says which of the outputs that are asked for a model has not. A model
// that says nothing of its outputs may have any. The error is an *Error.
func CheckOutputs(r *Request, outputs []Tensor) error {
	if len(outputs) == 0 {
		return nil
	}
	for i := range r.Outputs {
		if find(outputs, i, r.Outputs[i].Name) < 0 {
			return &Error{fmt.Sprintf("output %q", r.Outputs[i].Name), fmt.Sprintf("%s has no such output; it has %s", r.Model, names(outputs))}
		}
	}
	return nil
}

// find is where a name is in a list, -1 if it is not. Most requests have the order of
// the model: that place is looked at first.
func find(in []Tensor, first int, name string) int {
	if first < len(in) && in[first].Name == name {
		return first
	}
	return slices.IndexFunc(in, func(t Tensor) bool { return t.Name == name })
}

// fits compares one input with what its model takes.
func (in *Input) fits(want *Tensor, batched bool) error {
	if in.Datatype != want.Datatype {
		return in.wrong("it is %v, expected %v", in.Datatype, want.Datatype)
	}
	shape := in.Shape
	if batched {
		if len(shape) == 0 || shape[0] == 0 {
			return in.wrong("shape %s has no rows, expected %s", shapeText(shape), wanted(want, batched))
		}
		shape = shape[1:]
	}
	if len(shape) != len(want.Shape) {
		return in.wrong("shape %s has %d dimensions, expected %s", shapeText(in.Shape), len(in.Shape), wanted(want, batched))
	}
	for i, n := range want.Shape {
		if n >= 0 && shape[i] != n {
			return in.wrong("shape %s, expected %s: dimension %d is %d", shapeText(in.Shape), wanted(want, batched), i+len(in.Shape)-len(shape), shape[i])
		}
	}
	return nil
}

// wanted is a model's shape for people: -1 is any number.
func wanted(t *Tensor, batched bool) string {
	shape := t.Shape
	if batched {
		shape = append([]int64{-1}, shape...)
	}
	text := shapeText(shape)
	if slices.Contains(shape, -1) {
		text += " (-1: any)"
	}
	return text
}

// names lists a model's tensors for people.
func names(of []Tensor) string {
	list := make([]string, 0, len(of))
	for i := range of {
		if i == 10 {
			list = append(list, fmt.Sprintf("%d more", len(of)-i))
			break
		}
		list = append(list, fmt.Sprintf("%q", of[i].Name))
	}
	return strings.Join(list, ", ")
}
