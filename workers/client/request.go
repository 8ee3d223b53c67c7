// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"time"

	"github.com/modelfs/modelfs/workers/inference"
	"github.com/modelfs/modelfs/workers/internal/wire"
)

// Request is one call.
type Request struct {
	Model, Version string // "": the client's, and any
	ID             string
	Inputs         []Tensor
	Outputs        []Output // nil: all that the model has, in the response
	// Parameters are the model's own: bool, int, int64, uint64, float64 or string.
	Parameters map[string]any
	Priority   uint64        // 1 is first; 0: the model's default
	Timeout    time.Duration // in the server's queue; 0: none
}

// Tensor is an input.
type Tensor struct {
	Name     string
	Datatype string // of the protocol: FP32, INT64, BYTES, …
	Shape    []int64
	// Data is row-major and little-endian. It is not to change until the call returns.
	Data []byte
	// Path, instead, is a file of the mount: sessions/camera/frame.
	Path   string
	Offset int64 // of the bytes in it
	Size   int64 // how many; 0: as many as datatype and shape say
}

// Output is one that is asked for.
type Output struct {
	Name string
	// Path is a file of the mount for it, which is large enough; "": into the response.
	Path   string
	Offset int64
	Size   int64 // how many bytes there are for it; 0: all to the end
}

// message makes what is sent. It can be sent once.
func (r *Request) message(model string) (*wire.InferRequest, error) {
	m := &inference.ModelInferRequest{ModelName: r.Model, ModelVersion: r.Version, Id: r.ID, Parameters: map[string]*inference.InferParameter{}}
	if m.ModelName == "" {
		m.ModelName = model
	}
	for name, v := range r.Parameters {
		p, err := parameter(v)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		m.Parameters[name] = p
	}
	if r.Priority != 0 {
		m.Parameters["priority"] = unsigned(r.Priority)
	}
	if r.Timeout > 0 {
		m.Parameters["timeout"] = number(r.Timeout.Microseconds())
	}
	out := &wire.InferRequest{Message: m}
	for i := range r.Inputs {
		in := &r.Inputs[i]
		t := &inference.ModelInferRequest_InferInputTensor{Name: in.Name, Datatype: in.Datatype, Shape: in.Shape}
		if in.Path != "" {
			t.Parameters = place(in.Path, in.Offset, in.Size)
		} else {
			out.Raw = append(out.Raw, wire.Borrow(in.Data, nil))
		}
		m.Inputs = append(m.Inputs, t)
	}
	for _, o := range r.Outputs {
		t := &inference.ModelInferRequest_InferRequestedOutputTensor{Name: o.Name}
		if o.Path != "" {
			t.Parameters = place(o.Path, o.Offset, o.Size)
		}
		m.Outputs = append(m.Outputs, t)
	}
	return out, nil
}

// repeatable says whether an attempt leaves nothing behind that another one could meet.
func (r *Request) repeatable() bool {
	for _, o := range r.Outputs {
		if o.Path != "" {
			return false
		}
	}
	return true
}

func place(path string, offset, size int64) map[string]*inference.InferParameter {
	p := map[string]*inference.InferParameter{"modelfs_path": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: path}}}
	if offset != 0 {
		p["modelfs_offset"] = number(offset)
	}
	if size != 0 {
		p["modelfs_byte_size"] = number(size)
	}
	return p
}

func number(n int64) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: n}}
}

func unsigned(n uint64) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_Uint64Param{Uint64Param: n}}
}

func parameter(v any) (*inference.InferParameter, error) {
	switch v := v.(type) {
	case bool:
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: v}}, nil
	case int:
		return number(int64(v)), nil
	case int64:
		return number(v), nil
	case uint64:
		return unsigned(v), nil
	case float64:
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_DoubleParam{DoubleParam: v}}, nil
	case string:
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: v}}, nil
	}
	return nil, fmt.Errorf("%T is none of bool, int, int64, uint64, float64, string", v)
}

func values(m map[string]*inference.InferParameter) map[string]any {
	out := make(map[string]any, len(m))
	for name, p := range m {
		switch v := p.GetParameterChoice().(type) {
		case *inference.InferParameter_BoolParam:
			out[name] = v.BoolParam
		case *inference.InferParameter_Int64Param:
			out[name] = v.Int64Param
		case *inference.InferParameter_Uint64Param:
			out[name] = v.Uint64Param
		case *inference.InferParameter_DoubleParam:
			out[name] = v.DoubleParam
		case *inference.InferParameter_StringParam:
			out[name] = v.StringParam
		}
	}
	return out
}
