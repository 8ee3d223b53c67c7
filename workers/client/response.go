// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"

	"github.com/modelfs/modelfs/workers/inference"
	"github.com/modelfs/modelfs/workers/internal/wire"
)

// ErrAnswer says that a server's answer makes no sense.
var ErrAnswer = errors.New("malformed answer")

// Response is what a call gave.
type Response struct {
	Model, Version, ID string
	Parameters         map[string]any
	Outputs            []Result
	wire               *wire.InferResponse
}

// Result is one output.
type Result struct {
	Name     string
	Datatype string
	Shape    []int64
	// Pieces are its bytes as they arrived, until Free; nil if they are elsewhere.
	Pieces [][]byte
	// Path, Offset and Size say where they are then.
	Path         string
	Offset, Size int64
}

// Bytes puts the pieces together; a copy only if there are several. What it returns is
// valid until Response.Free.
func (r *Result) Bytes() []byte {
	if len(r.Pieces) == 1 {
		return r.Pieces[0]
	}
	n := 0
	for _, p := range r.Pieces {
		n += len(p)
	}
	out := make([]byte, 0, n)
	for _, p := range r.Pieces {
		out = append(out, p...)
	}
	return out
}

// Output finds one by its name; nil if there is none.
func (r *Response) Output(name string) *Result {
	for i := range r.Outputs {
		if r.Outputs[i].Name == name {
			return &r.Outputs[i]
		}
	}
	return nil
}

// Free gives the memory of the pieces back; it is idempotent, and without it the
// garbage collector does.
func (r *Response) Free() { r.wire.Free() }

// response makes one of what was received, whose memory it has then.
func response(in *wire.InferResponse) (*Response, error) {
	m := in.Message
	r := &Response{Model: m.ModelName, Version: m.ModelVersion, ID: m.Id, Parameters: values(m.Parameters), wire: in}
	pieces := in.Pieces()
	for i, o := range m.Outputs {
		t := Result{Name: o.Name, Datatype: o.Datatype, Shape: o.Shape}
		p := o.Parameters
		switch {
		case p["modelfs_path"].GetStringParam() != "":
			t.Path, t.Offset, t.Size = p["modelfs_path"].GetStringParam(), p["modelfs_offset"].GetInt64Param(), p["modelfs_byte_size"].GetInt64Param()
		case i < len(pieces): // MLServer has empty typed contents beside them
			t.Pieces = pieces[i]
		case o.Contents != nil:
			raw, err := flatten(o.Datatype, o.Contents)
			if err != nil {
				in.Free()
				return nil, fmt.Errorf("%w: output %s: %w", ErrAnswer, o.Name, err)
			}
			t.Pieces = [][]byte{raw}
		default:
			in.Free()
			return nil, fmt.Errorf("%w: output %s has no contents", ErrAnswer, o.Name)
		}
		r.Outputs = append(r.Outputs, t)
	}
	return r, nil
}

// flatten makes raw bytes of typed contents, which other servers answer with.
func flatten(datatype string, c *inference.InferTensorContents) ([]byte, error) {
	switch datatype {
	case "BOOL":
		out := make([]byte, len(c.BoolContents))
		for i, v := range c.BoolContents {
			if v {
				out[i] = 1
			}
		}
		return out, nil
	case "INT8":
		return little(c.IntContents, 1), nil
	case "INT16":
		return little(c.IntContents, 2), nil
	case "INT32":
		return little(c.IntContents, 4), nil
	case "INT64":
		return little(c.Int64Contents, 8), nil
	case "UINT8":
		return little(c.UintContents, 1), nil
	case "UINT16":
		return little(c.UintContents, 2), nil
	case "UINT32":
		return little(c.UintContents, 4), nil
	case "UINT64":
		return little(c.Uint64Contents, 8), nil
	case "FP32":
		return littleFloat32(c.Fp32Contents), nil
	case "FP64":
		return littleFloat64(c.Fp64Contents), nil
	case "BYTES":
		return lengthened(c.BytesContents), nil
	}
	return nil, fmt.Errorf("datatype %q has no typed contents", datatype)
}
