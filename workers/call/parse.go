// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/modelfs/modelfs/workers/inference"
)

// What a request may have at the most.
const (
	MaxTensors    = 1024 // inputs, and outputs that are asked for
	MaxParameters = 1024
	MaxName       = 1000 // bytes of a name, of an id and a version too
)

// Parse checks a request and says what it asks for. raw are the raw contents as they
// arrived: the pieces of each entry, for a codec that takes them out of the message; nil:
// they are in the message. The Request borrows from both: raw bytes and shapes.
//
// Inputs whose elements came in typed fields are there as raw bytes, too: whoever has a
// Request knows raw bytes and references only. The error is an *Error, or
// wraps ErrSequences.
func Parse(m *inference.ModelInferRequest, raw [][][]byte) (*Request, error) {
	r := &Request{Model: m.GetModelName(), Version: m.GetModelVersion(), ID: m.GetId()}
	if reason := nameProblem(r.Model); reason != "" {
		return nil, &Error{"model_name", reason}
	}
	if reason := textProblem(r.Version); reason != "" {
		return nil, &Error{"model_version", reason}
	}
	if reason := textProblem(r.ID); reason != "" {
		return nil, &Error{"id", reason}
	}
	if err := r.parameters(m.GetParameters()); err != nil {
		return nil, err
	}
	raw, err := rawEntries(m, raw)
	if err != nil {
		return nil, err
	}
	if err := r.inputs(m.GetInputs(), raw); err != nil {
		return nil, err
	}
	if err := r.outputs(m.GetOutputs()); err != nil {
		return nil, err
	}
	return r, nil
}

// rawEntries are the raw contents, wherever they came.
func rawEntries(m *inference.ModelInferRequest, raw [][][]byte) ([][][]byte, error) {
	own := m.GetRawInputContents()
	if len(own) == 0 {
		return raw, nil
	}
	if len(raw) > 0 {
		return nil, &Error{"raw_input_contents", "some are in the message and some beside it"}
	}
	entries := make([][][]byte, len(own))
	for i := range own {
		entries[i] = own[i : i+1 : i+1]
	}
	return entries, nil
}

func (r *Request) inputs(from []*inference.ModelInferRequest_InferInputTensor, raw [][][]byte) error {
	if len(from) > MaxTensors {
		return &Error{"inputs", fmt.Sprintf("%d of them, at most %d are taken", len(from), MaxTensors)}
	}
	r.Inputs = make([]Input, len(from))
	names := uniqueNames{kind: "input", most: len(from)}
	inline := 0
	for i, t := range from {
		in := &r.Inputs[i]
		if err := names.add(t.GetName()); err != nil {
			return err
		}
		if err := in.declare(t); err != nil {
			return err
		}
		if in.Ref != nil {
			if !noContents(t.GetContents()) {
				return in.wrong("it is by reference and has contents: one of the two")
			}
			continue
		}
		inline++
		switch {
		case len(raw) == 0:
			if err := in.typed(t.GetContents()); err != nil {
				return err
			}
		case !noContents(t.GetContents()):
			return in.wrong("it has contents, and the request has raw_input_contents: all inputs come one way")
		case inline <= len(raw):
			if err := in.raw(raw[inline-1]); err != nil {
				return err
			}
		}
	}
	if len(raw) > 0 && len(raw) != inline {
		return &Error{"raw_input_contents", fmt.Sprintf("%d entries, expected %d: one for each input that is not by reference", len(raw), inline)}
	}
	return nil
}

// declare fills in what an input says of itself: all but its bytes.
func (in *Input) declare(t *inference.ModelInferRequest_InferInputTensor) error {
	in.Name, in.Shape = t.GetName(), t.GetShape()
	var ok bool
	if in.Datatype, ok = ParseDatatype(t.GetDatatype()); !ok {
		return in.wrong("datatype %.32q is unknown; known are %s", t.GetDatatype(), datatypeNames())
	}
	if len(in.Shape) > MaxRank {
		return in.wrong("%d dimensions, at most %d are taken", len(in.Shape), MaxRank)
	}
	for i, n := range in.Shape {
		if n < 0 {
			return in.wrong("shape %s: dimension %d is negative", shapeText(in.Shape), i)
		}
	}
	if in.Bytes, ok = Bytes(in.Shape, in.Datatype); in.Datatype == BYTES {
		in.Bytes = -1
		_, ok = Bytes(in.Shape, UINT32) // the least: each element's length
	}
	if !ok {
		return in.wrong("shape %s of %v is more bytes than 64 bits can count", shapeText(in.Shape), in.Datatype)
	}
	ref, err := reference(t.GetParameters())
	if err != nil {
		return in.wrong("%v", err)
	}
	in.Ref = ref
	switch {
	case ref == nil, ref.Bytes < 0:
	case in.Bytes < 0:
		in.Bytes = ref.Bytes
	case in.Bytes != ref.Bytes:
		return in.wrong("shape %s of %v has %d bytes, the reference says %d", shapeText(in.Shape), in.Datatype, in.Bytes, ref.Bytes)
	}
	return nil
}

func (in *Input) wrong(format string, args ...any) error {
	return &Error{fmt.Sprintf("input %q", in.Name), fmt.Sprintf(format, args...)}
}

func (r *Request) outputs(from []*inference.ModelInferRequest_InferRequestedOutputTensor) error {
	if len(from) == 0 {
		return nil
	}
	if len(from) > MaxTensors {
		return &Error{"outputs", fmt.Sprintf("%d are asked for, at most %d can be", len(from), MaxTensors)}
	}
	r.Outputs = make([]Output, len(from))
	names := uniqueNames{kind: "output", most: len(from)}
	for i, o := range from {
		if err := names.add(o.GetName()); err != nil {
			return err
		}
		ref, err := reference(o.GetParameters())
		if n := o.GetParameters()["classification"].GetInt64Param(); n != 0 && err == nil {
			err = errors.New("classification is not served: ask for the tensor, and sort it")
		}
		if err != nil {
			return &Error{fmt.Sprintf("output %q", o.GetName()), err.Error()}
		}
		r.Outputs[i] = Output{Name: o.GetName(), Ref: ref}
	}
	return nil
}

// uniqueNames checks names one after the other.
type uniqueNames struct {
	kind string // of what they are names
	most int    // that will be added
	few  []string
	many map[string]struct{}
}

func (u *uniqueNames) add(name string) error {
	n := len(u.few) + len(u.many)
	if reason := nameProblem(name); reason != "" {
		return &Error{fmt.Sprintf("%s %d", u.kind, n), "name: " + reason}
	}
	if u.most == 1 {
		return nil
	}
	// A map costs more than to look at a few.
	if u.most <= 8 {
		for _, other := range u.few {
			if other == name {
				return u.twice(name)
			}
		}
		u.few = append(u.few, name)
		return nil
	}
	if u.many == nil {
		u.many = make(map[string]struct{}, u.most)
	}
	u.many[name] = struct{}{}
	if len(u.many) == n {
		return u.twice(name)
	}
	return nil
}

func (u *uniqueNames) twice(name string) error {
	return &Error{fmt.Sprintf("%s %q", u.kind, name), "it is there twice"}
}

// nameProblem is what is wrong with a name; "" if nothing is.
func nameProblem(name string) string {
	if name == "" {
		return "it is empty"
	}
	return textProblem(name)
}

// textProblem is nameProblem for what may be empty.
func textProblem(text string) string {
	switch {
	case len(text) > MaxName:
		return fmt.Sprintf("%d bytes, at most %d are taken", len(text), MaxName)
	case strings.IndexByte(text, 0) >= 0:
		return fmt.Sprintf("%q has a NUL", text)
	case !utf8.ValidString(text):
		return fmt.Sprintf("%q is not UTF-8", text)
	}
	return ""
}

// datatypeNames lists them for people.
func datatypeNames() string {
	var names []string
	for d := BOOL; d <= BF16; d++ {
		names = append(names, d.String())
	}
	return strings.Join(names, ", ")
}
