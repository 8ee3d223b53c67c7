// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/modelfs/modelfs/workers/inference"
)

// FuzzParse takes any bytes for a message. What Parse accepts is whole, and the same
// however the raw contents are cut.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`inputs { name: "x" datatype: "FP32" shape: [1, 2] } raw_input_contents: "12345678"`,
		`inputs { name: "x" datatype: "INT8" shape: [2] contents { int_contents: [1, -1] } } outputs { name: "y" }`,
		`inputs { name: "w" datatype: "BYTES" shape: [2] } raw_input_contents: "\000\000\000\000\002\000\000\000hi"`,
		`inputs { name: "w" datatype: "BYTES" shape: [2] contents { bytes_contents: ["a", "bc"] } }`,
		`inputs { name: "b" datatype: "BOOL" shape: [3, 3] } raw_input_contents: "\000\001\000\000\000\000\000\001\000"`,
		`inputs { name: "x" datatype: "FP16" shape: [4611686018427387904, 4, 0] }`,
		`inputs { name: "x" datatype: "UINT8" shape: [4] ` + parameter("modelfs_path", `string_param: "sessions/a/b"`) + `}`,
		`inputs { name: "x" datatype: "UINT8" shape: [4] ` + parameter("shared_memory_region", `string_param: "r"`) + parameter("shared_memory_byte_size", "int64_param: 4") + `}`,
		parameter("priority", "int64_param: 2") + parameter("timeout", "uint64_param: 7") + parameter("beam", "double_param: 0.5"),
	} {
		data, err := proto.Marshal(message(f, text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint16(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		m := &inference.ModelInferRequest{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		whole, err := Parse(m, nil)
		if err != nil {
			text(t, err)
		} else {
			sound(t, whole)
		}

		// As a codec does it: the raw contents beside the message, in pieces.
		var raw [][][]byte
		for _, entry := range m.RawInputContents {
			at := int(cut) % (len(entry) + 1)
			raw = append(raw, [][]byte{entry[:at], entry[at:]})
		}
		m.RawInputContents = nil
		pieces, again := Parse(m, raw)
		if (err == nil) != (again == nil) {
			t.Fatalf("in one piece: %v; cut at %d: %v", err, cut, again)
		}
		if err != nil {
			return
		}
		sound(t, pieces)
		for i := range whole.Inputs {
			one, other := whole.Inputs[i], pieces.Inputs[i]
			if !bytes.Equal(joined(&one), joined(&other)) {
				t.Fatalf("input %d differs when it is cut", i)
			}
			one.Raw, other.Raw = nil, nil
			if !reflect.DeepEqual(one, other) {
				t.Fatalf("input %d: %+v, cut: %+v", i, one, other)
			}
		}
	})
}

// FuzzParseMutated makes a request that is right, by data, which Parse must accept; and
// then one thing wrong in it, which it must refuse.
func FuzzParseMutated(f *testing.F) {
	for i := range mutations {
		f.Add([]byte{2, 10, 2, 1, 2, 0, 12, 1, 3, 0, 3, 2, 2, 1, 0}, uint8(i), int64(i*7))
		f.Add([]byte{2, 5, 2, 1, 2, 1, 0, 1, 3, 1, 3, 2, 2, 1, 1}, uint8(i), int64(-i))
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8, number int64) {
		c := &choices{data}
		m := c.request()
		r, err := Parse(m, nil)
		if err != nil {
			t.Fatalf("%v\n%v", err, m)
		}
		sound(t, r)
		Kind(r)
		mutation := mutations[int(which)%len(mutations)]
		if !mutation.make(m, number) {
			return
		}
		if r, err = Parse(m, nil); err == nil {
			t.Fatalf("%s: accepted: %+v\n%v", mutation.name, r, m)
		}
		text(t, err)
	})
}

// text checks an error: of the type, and short, whatever was in the request.
func text(t *testing.T, err error) {
	var e *Error
	known := errors.As(err, &e) && e.Field != "" && e.Reason != "" || errors.Is(err, ErrSequences)
	if !known || len(err.Error()) > 32<<10 {
		t.Fatalf("an error of %d bytes: %#v", len(err.Error()), err)
	}
}

// sound checks what holds for every request that was accepted.
func sound(t *testing.T, r *Request) {
	t.Helper()
	names := map[string]bool{}
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if names[in.Name] || in.Name == "" || len(in.Name) > MaxName || !in.Datatype.Valid() || len(in.Shape) > MaxRank {
			t.Fatalf("input %d: %+v", i, in)
		}
		names[in.Name] = true
		if (in.Ref == nil) != (in.Raw != nil) {
			t.Fatalf("input %d has bytes and a reference, or none: %+v", i, in)
		}
		if in.Ref != nil && ((in.Ref.Path == "") == (in.Ref.Region == "") || in.Ref.Offset < 0 || in.Ref.Bytes < -1 || in.Ref.Bytes > math.MaxInt64-in.Ref.Offset) {
			t.Fatalf("input %d: %+v", i, in.Ref)
		}
		want, fixed := Bytes(in.Shape, in.Datatype)
		data := joined(in)
		switch {
		case fixed && in.Bytes != want, in.Ref == nil && int64(len(data)) != in.Bytes:
			t.Fatalf("input %d has %d bytes, says %d, expected %d: %+v", i, len(data), in.Bytes, want, in.Tensor)
		case in.Datatype == BYTES && in.Ref == nil:
			count, ok := Elements(in.Shape)
			if got := countElements(data); !ok || got != count {
				t.Fatalf("input %d has %d elements, expected %d", i, got, count)
			}
		case in.Datatype == BOOL && len(bytes.Trim(data, "\x00\x01")) > 0:
			t.Fatalf("input %d: BOOL of %q", i, data)
		}
	}
	names = map[string]bool{}
	for i, out := range r.Outputs {
		if names[out.Name] || out.Name == "" {
			t.Fatalf("output %d: %+v", i, out)
		}
		names[out.Name] = true
	}
	if r.Timeout < 0 || Rows(r) < 1 {
		t.Fatalf("timeout %v, rows %d", r.Timeout, Rows(r))
	}
}

// countElements of BYTES; -1 if they do not end where the bytes do.
func countElements(data []byte) int64 {
	n := int64(0)
	for ; len(data) > 0; n++ {
		if len(data) < 4 || uint64(len(data)-4) < uint64(binary.LittleEndian.Uint32(data)) {
			return -1
		}
		data = data[4+binary.LittleEndian.Uint32(data):]
	}
	return n
}

// choices are what a fuzzer decides, byte by byte; nothing is left: 0.
type choices struct{ left []byte }

func (c *choices) below(n int) int {
	if len(c.left) == 0 {
		return 0
	}
	b := c.left[0]
	c.left = c.left[1:]
	return int(b) % n
}

// request is one that is right.
func (c *choices) request() *inference.ModelInferRequest {
	m := &inference.ModelInferRequest{ModelName: "model"}
	raw := c.below(2) == 0
	for i := range c.below(4) {
		in := &inference.ModelInferRequest_InferInputTensor{Name: fmt.Sprint("in", i)}
		d := Datatype(1 + c.below(int(BF16)))
		if !raw && fieldFor(d) == "" {
			d = FP32
		}
		in.Datatype = d.String()
		elements := 1
		for range c.below(4) {
			n := c.below(4)
			in.Shape = append(in.Shape, int64(n))
			elements *= n
		}
		m.Inputs = append(m.Inputs, in)
		switch size := int64(elements * d.Size()); c.below(4) {
		case 1:
			in.Parameters = map[string]*inference.InferParameter{pathParameter: stringParameter("sessions/a/b"), pathOffset: numberParameter(int64(c.below(100)))}
			continue
		case 2:
			in.Parameters = map[string]*inference.InferParameter{regionParameter: stringParameter("region"), regionBytes: numberParameter(size)}
			continue
		}
		if raw {
			m.RawInputContents = append(m.RawInputContents, c.raw(d, elements))
		} else {
			in.Contents = c.contents(d, elements)
		}
	}
	for i := range c.below(3) {
		m.Outputs = append(m.Outputs, &inference.ModelInferRequest_InferRequestedOutputTensor{Name: fmt.Sprint("out", i)})
	}
	return m
}

func (c *choices) raw(d Datatype, elements int) []byte {
	data := []byte{}
	for range elements {
		switch d {
		case BYTES:
			length := c.below(5)
			data = append(binary.LittleEndian.AppendUint32(data, uint32(length)), "hello"[:length]...)
		case BOOL:
			data = append(data, byte(c.below(2)))
		default:
			for range d.Size() {
				data = append(data, byte(c.below(256)))
			}
		}
	}
	return data
}

func (c *choices) contents(d Datatype, elements int) *inference.InferTensorContents {
	t := &inference.InferTensorContents{}
	for range elements {
		v := c.below(128)
		switch fieldFor(d) {
		case "bool_contents":
			t.BoolContents = append(t.BoolContents, v%2 == 1)
		case "int_contents":
			t.IntContents = append(t.IntContents, -int32(v))
		case "int64_contents":
			t.Int64Contents = append(t.Int64Contents, -int64(v))
		case "uint_contents":
			t.UintContents = append(t.UintContents, uint32(v))
		case "uint64_contents":
			t.Uint64Contents = append(t.Uint64Contents, uint64(v))
		case "fp32_contents":
			t.Fp32Contents = append(t.Fp32Contents, float32(v))
		case "fp64_contents":
			t.Fp64Contents = append(t.Fp64Contents, float64(v))
		case "bytes_contents":
			t.BytesContents = append(t.BytesContents, []byte("hello")[:v%6])
		}
	}
	return t
}

func stringParameter(v string) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: v}}
}

func numberParameter(v int64) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: v}}
}

// mutations each make one thing wrong in a request, the number says where or how much;
// false, if there is no such thing in it.
var mutations = []struct {
	name string
	make func(m *inference.ModelInferRequest, number int64) bool
}{
	{"no model", func(m *inference.ModelInferRequest, _ int64) bool { m.ModelName = ""; return true }},
	{"negative dimension", ofInput(func(in *inference.ModelInferRequest_InferInputTensor, n int64) bool {
		in.Shape = append(in.Shape, -1-max(n, -n-1))
		return true
	})},
	{"rank", ofInput(func(in *inference.ModelInferRequest_InferInputTensor, _ int64) bool {
		for len(in.Shape) <= MaxRank {
			in.Shape = append(in.Shape, 1)
		}
		return true
	})},
	{"overflow", ofInput(func(in *inference.ModelInferRequest_InferInputTensor, _ int64) bool {
		in.Shape = append(in.Shape, math.MaxInt64, 3)
		return true
	})},
	{"one element more", ofInput(func(in *inference.ModelInferRequest_InferInputTensor, _ int64) bool {
		n, _ := Elements(in.Shape)
		in.Shape = []int64{n + 1}
		return in.Parameters == nil
	})},
	{"datatype", ofInput(func(in *inference.ModelInferRequest_InferInputTensor, n int64) bool {
		in.Datatype += string(rune('A' + max(n, 0)%26))
		return true
	})},
	{"name twice", func(m *inference.ModelInferRequest, n int64) bool {
		if len(m.Inputs) < 2 {
			return false
		}
		m.Inputs[1+placeIn(n, len(m.Inputs)-1)].Name = m.Inputs[0].Name
		return true
	}},
	{"output twice", func(m *inference.ModelInferRequest, _ int64) bool {
		if len(m.Outputs) < 2 {
			return false
		}
		m.Outputs[1].Name = m.Outputs[0].Name
		return true
	}},
	{"a raw entry more", func(m *inference.ModelInferRequest, n int64) bool {
		m.RawInputContents = append(m.RawInputContents, make([]byte, placeIn(n, 100)))
		return len(m.RawInputContents) > 1 // the first is right for an input of no elements
	}},
	{"a raw byte more", func(m *inference.ModelInferRequest, n int64) bool {
		if len(m.RawInputContents) == 0 {
			return false
		}
		at := placeIn(n, len(m.RawInputContents))
		m.RawInputContents[at] = append(m.RawInputContents[at], 0)
		return true
	}},
	{"a raw byte less", func(m *inference.ModelInferRequest, n int64) bool {
		if len(m.RawInputContents) == 0 {
			return false
		}
		at := placeIn(n, len(m.RawInputContents))
		entry := m.RawInputContents[at]
		if len(entry) == 0 {
			return false
		}
		m.RawInputContents[at] = entry[:len(entry)-1]
		return true
	}},
	{"negative offset", ofInput(func(in *inference.ModelInferRequest_InferInputTensor, n int64) bool {
		if in.Parameters[pathParameter] == nil {
			return false
		}
		in.Parameters[pathOffset] = numberParameter(-1 - max(n, -n-1))
		return true
	})},
	{"two places", ofInput(func(in *inference.ModelInferRequest_InferInputTensor, _ int64) bool {
		if in.Parameters[regionParameter] == nil {
			return false
		}
		in.Parameters[pathParameter] = stringParameter("sessions/a/b")
		return true
	})},
	{"reference and contents", ofInput(func(in *inference.ModelInferRequest_InferInputTensor, _ int64) bool {
		in.Contents = &inference.InferTensorContents{BytesContents: [][]byte{nil}}
		return in.Parameters != nil
	})},
	{"sequence", func(m *inference.ModelInferRequest, n int64) bool {
		m.Parameters = map[string]*inference.InferParameter{"sequence_id": numberParameter(n)}
		return true
	}},
}

// placeIn is a place in a list of n.
func placeIn(number int64, n int) int { return int(uint64(number) % uint64(n)) }

// ofInput is a mutation of one input.
func ofInput(mutate func(*inference.ModelInferRequest_InferInputTensor, int64) bool) func(*inference.ModelInferRequest, int64) bool {
	return func(m *inference.ModelInferRequest, number int64) bool {
		return len(m.Inputs) > 0 && mutate(m.Inputs[placeIn(number, len(m.Inputs))], number)
	}
}
