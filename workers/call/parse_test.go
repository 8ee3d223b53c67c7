// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/modelfs/modelfs/workers/inference"
)

// message reads a request as text; "model_name" is added.
func message(t testing.TB, text string) *inference.ModelInferRequest {
	t.Helper()
	m := &inference.ModelInferRequest{}
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if !strings.Contains(text, "model_name") {
		m.ModelName = "m"
	}
	return m
}

// joined are an input's bytes in one piece.
func joined(in *Input) []byte { return bytes.Join(in.Raw, nil) }

func TestParse(t *testing.T) {
	r, err := Parse(message(t, `
		model_name: "asr" model_version: "3" id: "call-1"
		parameters { key: "priority" value { int64_param: 2 } }
		parameters { key: "timeout" value { uint64_param: 1500 } }
		parameters { key: "temperature" value { double_param: 0.5 } }
		parameters { key: "beam" value { int64_param: -3 } }
		parameters { key: "language" value { string_param: "de" } }
		parameters { key: "fast" value { bool_param: true } }
		parameters { key: "seed" value { uint64_param: 18446744073709551615 } }
		inputs { name: "audio" datatype: "INT16" shape: [2, 1] }
		inputs { name: "frame" datatype: "UINT8" shape: [2, 3]
			parameters { key: "modelfs_path" value { string_param: "sessions/camera/frame.npy" } }
			parameters { key: "modelfs_offset" value { int64_param: 4096 } } }
		inputs { name: "words" datatype: "BYTES" shape: [2] }
		inputs { name: "mel" datatype: "FP32" shape: []
			parameters { key: "shared_memory_region" value { string_param: "in" } }
			parameters { key: "shared_memory_byte_size" value { int64_param: 4 } } }
		outputs { name: "text" }
		outputs { name: "probs"
			parameters { key: "shared_memory_region" value { string_param: "out" } }
			parameters { key: "shared_memory_offset" value { int64_param: 64 } }
			parameters { key: "shared_memory_byte_size" value { uint64_param: 1000 } } }
		raw_input_contents: "\001\002\003\004"
		raw_input_contents: "\000\000\000\000\002\000\000\000hi"`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Request{
		Model: "asr", Version: "3", ID: "call-1", Priority: 2, Timeout: 1500 * time.Microsecond,
		Parameters: map[string]any{"temperature": 0.5, "beam": int64(-3), "language": "de", "fast": true, "seed": uint64(math.MaxUint64)},
		Inputs: []Input{
			{Tensor: Tensor{"audio", INT16, []int64{2, 1}}, Raw: [][]byte{{1, 2, 3, 4}}, Bytes: 4},
			{Tensor: Tensor{"frame", UINT8, []int64{2, 3}}, Ref: &Ref{Path: "sessions/camera/frame.npy", Offset: 4096, Bytes: -1}, Bytes: 6},
			{Tensor: Tensor{"words", BYTES, []int64{2}}, Raw: [][]byte{[]byte("\x00\x00\x00\x00\x02\x00\x00\x00hi")}, Bytes: 10},
			{Tensor: Tensor{"mel", FP32, nil}, Ref: &Ref{Region: "in", Bytes: 4}, Bytes: 4},
		},
		Outputs: []Output{{Name: "text"}, {Name: "probs", Ref: &Ref{Region: "out", Offset: 64, Bytes: 1000}}},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
}

// A codec hands over pieces, whose borders may lie anywhere.
func TestParsePieces(t *testing.T) {
	m := message(t, `inputs { name: "w" datatype: "BYTES" shape: [3] } inputs { name: "b" datatype: "BOOL" shape: [11] }`)
	words := []byte("\x05\x00\x00\x00hello\x00\x00\x00\x00\x01\x00\x00\x00!")
	flags := []byte{0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1}
	for a := range len(words) + 1 {
		for b := a; b <= len(words); b++ {
			raw := [][][]byte{{words[:a], words[a:b], nil, words[b:]}, {flags[:a%11], flags[a%11:]}}
			r, err := Parse(m, raw)
			if err != nil {
				t.Fatalf("cut at %d and %d: %v", a, b, err)
			}
			if !bytes.Equal(joined(&r.Inputs[0]), words) || r.Inputs[0].Bytes != int64(len(words)) {
				t.Fatalf("cut at %d and %d: %q", a, b, r.Inputs[0].Raw)
			}
		}
	}
}

func TestTypedContents(t *testing.T) {
	for _, c := range []struct {
		datatype, contents string
		want               []byte
	}{
		{"BOOL", "bool_contents: [true, false]", []byte{1, 0}},
		{"INT8", "int_contents: [-128, 127]", []byte{0x80, 0x7f}},
		{"INT16", "int_contents: [-32768, 32767]", []byte{0, 0x80, 0xff, 0x7f}},
		{"INT32", "int_contents: [-2147483648, 1]", []byte{0, 0, 0, 0x80, 1, 0, 0, 0}},
		{"INT64", "int64_contents: [-1, 1]", []byte{255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0}},
		{"UINT8", "uint_contents: [0, 255]", []byte{0, 255}},
		{"UINT16", "uint_contents: [0, 65535]", []byte{0, 0, 255, 255}},
		{"UINT32", "uint_contents: [0, 4294967295]", []byte{0, 0, 0, 0, 255, 255, 255, 255}},
		{"UINT64", "uint64_contents: [1, 18446744073709551615]", []byte{1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255}},
		{"FP32", "fp32_contents: [1, -0.0]", []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x80}},
		{"FP64", "fp64_contents: [1, nan]", []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 1, 0, 0, 0, 0, 0, 0xf8, 0x7f}},
		{"BYTES", `bytes_contents: ["", "hi"]`, []byte("\x00\x00\x00\x00\x02\x00\x00\x00hi")},
	} {
		r, err := Parse(message(t, fmt.Sprintf(`inputs { name: "x" datatype: %q shape: [2] contents { %s } }`, c.datatype, c.contents)), nil)
		if err != nil {
			t.Errorf("%s: %v", c.datatype, err)
			continue
		}
		if got := joined(&r.Inputs[0]); !bytes.Equal(got, c.want) || r.Inputs[0].Bytes != int64(len(c.want)) {
			t.Errorf("%s: %x, %d bytes, want %x", c.datatype, got, r.Inputs[0].Bytes, c.want)
		}
	}
}

// Tensors of nothing come any way.
func TestNoElements(t *testing.T) {
	for _, text := range []string{
		`inputs { name: "x" datatype: "FP16" shape: [0, 7] }`,
		`inputs { name: "x" datatype: "FP32" shape: [3, 0] contents {} }`,
		`inputs { name: "x" datatype: "BYTES" shape: [0] } raw_input_contents: ""`,
		`inputs { name: "x" datatype: "BOOL" shape: [0] } raw_input_contents: ""`,
	} {
		r, err := Parse(message(t, text), nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if in := r.Inputs[0]; in.Bytes != 0 || in.Raw == nil || len(joined(&in)) != 0 {
			t.Errorf("%s: %+v", text, in)
		}
	}
}

// parameter is one of a tensor, as text.
func parameter(key, value string) string {
	return fmt.Sprintf("parameters { key: %q value { %s } } ", key, value)
}

func TestRefused(t *testing.T) {
	const x = `inputs { name: "x" datatype: "FP32" shape: [2] `
	path, region, size := parameter("modelfs_path", `string_param: "sessions/a/b"`), parameter("shared_memory_region", `string_param: "r"`), parameter("shared_memory_byte_size", "int64_param: 8")
	long := strings.Repeat("n", 1001)
	for text, want := range map[string]string{
		// Names.
		`model_name: ""`:                                     `model_name: it is empty`,
		`model_name: "` + long + `"`:                         `model_name: 1001 bytes, at most 1000 are taken`,
		`model_name: "a\000b"`:                               `model_name: "a\x00b" has a NUL`,
		`id: "` + long + `"`:                                 `id: 1001 bytes, at most 1000 are taken`,
		`model_version: "\000"`:                              `model_version: "\x00" has a NUL`,
		`inputs { datatype: "FP32" }`:                        `input 0: name: it is empty`,
		`inputs { name: "` + long + `" }`:                    `input 0: name: 1001 bytes, at most 1000 are taken`,
		`inputs { name: "a\000" }`:                           `input 0: name: "a\x00" has a NUL`,
		x + `contents { fp32_contents: [1, 2] } }` + x + `}`: `input "x": it is there twice`,
		`outputs { name: "y" } outputs { name: "z" } outputs { name: "y" }`: `output "y": it is there twice`,
		`outputs { name: "y" } outputs {}`:                                  `output 1: name: it is empty`,

		// Datatypes and shapes.
		`inputs { name: "x" datatype: "FP17" }`:                                                `input "x": datatype "FP17" is unknown; known are BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES, BF16`,
		`inputs { name: "x" datatype: "fp32" }`:                                                `input "x": datatype "fp32" is unknown; known are BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES, BF16`,
		`inputs { name: "x" datatype: "FP32" shape: [3, -1] }`:                                 `input "x": shape [3,-1]: dimension 1 is negative`,
		`inputs { name: "x" datatype: "FP32" shape: [4294967296, 4294967296] }`:                `input "x": shape [4294967296,4294967296] of FP32 is more bytes than 64 bits can count`,
		`inputs { name: "x" datatype: "FP64" shape: [2305843009213693952] }`:                   `input "x": shape [2305843009213693952] of FP64 is more bytes than 64 bits can count`,
		`inputs { name: "x" datatype: "FP32" shape: [0, 9223372036854775807, 2] }`:             `input "x": shape [0,9223372036854775807,2] of FP32 is more bytes than 64 bits can count`,
		`inputs { name: "x" datatype: "BYTES" shape: [9223372036854775807] }`:                  `input "x": shape [9223372036854775807] of BYTES is more bytes than 64 bits can count`,
		`inputs { name: "x" datatype: "FP32" shape: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1] }`:     `input "x": 17 dimensions, at most 16 are taken`,
		`inputs { name: "x" datatype: "INT8" shape: [1000000000] } raw_input_contents: "abc"`:  `input "x": 3 bytes of raw contents, expected 1000000000 for shape [1000000000] of INT8`,
		`inputs { name: "x" datatype: "BYTES" shape: [1000000000] } raw_input_contents: "abc"`: `input "x": 3 bytes of raw contents cannot be 1000000000 elements for shape [1000000000] of BYTES: each has 4 bytes of length`,

		// Raw contents.
		x + `} raw_input_contents: "1234567"`:                                                                              `input "x": 7 bytes of raw contents, expected 8 for shape [2] of FP32`,
		x + `} raw_input_contents: "123456789"`:                                                                            `input "x": 9 bytes of raw contents, expected 8 for shape [2] of FP32`,
		x + `} raw_input_contents: "12345678" raw_input_contents: "12345678"`:                                              `raw_input_contents: 2 entries, expected 1: one for each input that is not by reference`,
		x + `} inputs { name: "y" datatype: "INT8" shape: [1] } raw_input_contents: "12345678"`:                            `raw_input_contents: 1 entries, expected 2: one for each input that is not by reference`,
		`raw_input_contents: "x"`:                                                                                          `raw_input_contents: 1 entries, expected 0: one for each input that is not by reference`,
		x + path + `} raw_input_contents: "12345678"`:                                                                      `raw_input_contents: 1 entries, expected 0: one for each input that is not by reference`,
		x + `contents { fp32_contents: [1, 2] } } raw_input_contents: "12345678"`:                                          `input "x": it has contents, and the request has raw_input_contents: all inputs come one way`,
		x + `contents { int_contents: [1] } } raw_input_contents: "12345678"`:                                              `input "x": it has contents, and the request has raw_input_contents: all inputs come one way`,
		`inputs { name: "b" datatype: "BOOL" shape: [10] } raw_input_contents: "\000\001\000\000\000\000\000\001\000\002"`: `input "b": byte 9 of its raw contents is 2, BOOL is 0 or 1`,
		`inputs { name: "b" datatype: "BOOL" shape: [8] } raw_input_contents: "\000\001\000\000\000\377\000\001"`:          `input "b": byte 5 of its raw contents is 255, BOOL is 0 or 1`,
		`inputs { name: "w" datatype: "BYTES" shape: [1] } raw_input_contents: "\004\000\000\000abc"`:                      `input "w": element 0 of 1 (shape [1] of BYTES) says that it has 4 bytes, 3 are left`,
		`inputs { name: "w" datatype: "BYTES" shape: [1] } raw_input_contents: "\377\377\377\377abc"`:                      `input "w": element 0 of 1 (shape [1] of BYTES) says that it has 4294967295 bytes, 3 are left`,
		`inputs { name: "w" datatype: "BYTES" shape: [1] } raw_input_contents: "\002\000\000\000abc"`:                      `input "w": 1 bytes after the last of 1 elements for shape [1] of BYTES`,
		`inputs { name: "w" datatype: "BYTES" shape: [2] } raw_input_contents: "\002\000\000\000abcd"`:                     `input "w": element 1 of 2 (shape [2] of BYTES) is cut off: 2 of 4 bytes of length`,

		// Typed contents.
		x + `}`: `input "x": 0 elements in fp32_contents, expected 2 for shape [2] of FP32`,
		x + `contents { fp32_contents: [1, 2, 3] } }`:                                            `input "x": 3 elements in fp32_contents, expected 2 for shape [2] of FP32`,
		x + `contents { fp32_contents: [1, 2] int_contents: [1] } }`:                             `input "x": 1 elements in int_contents, expected those of FP32 in fp32_contents`,
		`inputs { name: "i" datatype: "INT32" shape: [1] contents { fp32_contents: [1] } }`:      `input "i": 1 elements in fp32_contents, expected those of INT32 in int_contents`,
		`inputs { name: "i" datatype: "INT8" shape: [2] contents { int_contents: [1, 300] } }`:   `input "i": element 1 is 300, INT8 is from -128 to 127`,
		`inputs { name: "i" datatype: "INT16" shape: [1] contents { int_contents: [-32769] } }`:  `input "i": element 0 is -32769, INT16 is from -32768 to 32767`,
		`inputs { name: "i" datatype: "UINT8" shape: [1] contents { uint_contents: [256] } }`:    `input "i": element 0 is 256, UINT8 is from 0 to 255`,
		`inputs { name: "i" datatype: "UINT16" shape: [1] contents { uint_contents: [65536] } }`: `input "i": element 0 is 65536, UINT16 is from 0 to 65535`,
		`inputs { name: "h" datatype: "FP16" shape: [1] contents { fp32_contents: [1] } }`:       `input "h": 1 elements in fp32_contents: FP16 comes in raw_input_contents only`,
		`inputs { name: "h" datatype: "BF16" shape: [1] }`:                                       `input "h": it has no contents: BF16 comes in raw_input_contents`,

		// References.
		x + path + region + size + `}`:                                                                  `input "x": it has modelfs_ and shared_memory_ parameters: one of the two`,
		x + path + `contents { fp32_contents: [1, 2] } }`:                                               `input "x": it is by reference and has contents: one of the two`,
		x + region + `}`:                                                                                `input "x": shared_memory_region without shared_memory_byte_size`,
		x + size + `}`:                                                                                  `input "x": shared_memory_region is missing`,
		x + parameter("modelfs_offset", "int64_param: 1") + `}`:                                         `input "x": modelfs_path is missing`,
		x + parameter("modelfs_path", "int64_param: 1") + `}`:                                           `input "x": modelfs_path is an int64, expected a string`,
		x + parameter("modelfs_path", `string_param: ""`) + `}`:                                         `input "x": modelfs_path is empty`,
		x + parameter("modelfs_path", `string_param: "a\000"`) + `}`:                                    `input "x": modelfs_path has a NUL`,
		x + parameter("modelfs_path", `string_param: "`+strings.Repeat("p", 4097)+`"`) + `}`:            `input "x": modelfs_path has 4097 bytes, at most 4096 are taken`,
		x + path + parameter("modelfs_offset", "int64_param: -1") + `}`:                                 `input "x": modelfs_offset: -1 is negative`,
		x + path + parameter("modelfs_offset", "double_param: 1") + `}`:                                 `input "x": modelfs_offset: it is a double, expected an int64 or a uint64 of 0 or more`,
		x + path + parameter("modelfs_offset", "uint64_param: 9223372036854775808") + `}`:               `input "x": modelfs_offset: 9223372036854775808 is more than an int64 holds`,
		x + path + parameter("modelfs_byte_size", "int64_param: 7") + `}`:                               `input "x": shape [2] of FP32 has 8 bytes, the reference says 7`,
		x + region + parameter("shared_memory_byte_size", "int64_param: -8") + `}`:                      `input "x": shared_memory_byte_size: -8 is negative`,
		x + region + size + parameter("shared_memory_offset", "int64_param: 9223372036854775800") + `}`: `input "x": shared_memory_offset 9223372036854775800 and shared_memory_byte_size 8 are more than 64 bits can count`,
		`outputs { name: "y" ` + region + `}`:                                                           `output "y": shared_memory_region without shared_memory_byte_size`,
		`outputs { name: "y" ` + path + region + size + `}`:                                             `output "y": it has modelfs_ and shared_memory_ parameters: one of the two`,
		`outputs { name: "y" ` + parameter("classification", "int64_param: 3") + `}`:                    `output "y": classification is not served: ask for the tensor, and sort it`,

		// The request's parameters.
		parameter("priority", "int64_param: -1"):        `parameter "priority": -1 is negative`,
		parameter("priority", `string_param: "1"`):      `parameter "priority": it is a string, expected an int64 or a uint64 of 0 or more`,
		parameter("timeout", "int64_param: -5"):         `parameter "timeout": -5 is negative`,
		parameter("timeout", "bool_param: true"):        `parameter "timeout": it is a bool, expected an int64 or a uint64 of 0 or more`,
		parameter("sequence_id", "int64_param: 7"):      `parameter "sequence_id": sequences are not served, no state is kept between calls: send the state as a tensor`,
		parameter("sequence_start", "bool_param: true"): `parameter "sequence_start": sequences are not served, no state is kept between calls: send the state as a tensor`,
		parameter("x", ""):                              `parameter "x": it has no value`,
		parameter("x", "double_param: nan"):             `parameter "x": NaN is no number`,
		parameter("", "int64_param: 1"):                 `parameter "": name: it is empty`,
	} {
		r, err := Parse(message(t, text), nil)
		var e *Error
		switch {
		case !errors.As(err, &e) && !errors.Is(err, ErrSequences):
			t.Errorf("%s: %+v, %v", text, r, err)
		case err.Error() != want, strings.Contains(want, "sequence") != errors.Is(err, ErrSequences):
			t.Errorf("%s:\ngot  %s\nwant %s", text, err, want)
		}
	}
}

// What protobuf's text cannot say.
func TestRefusedBeyondText(t *testing.T) {
	many := &inference.ModelInferRequest{}
	for i := range 1025 {
		many.Inputs = append(many.Inputs, &inference.ModelInferRequest_InferInputTensor{Name: fmt.Sprint(i), Datatype: "INT8", Shape: []int64{0}})
		many.Outputs = append(many.Outputs, &inference.ModelInferRequest_InferRequestedOutputTensor{Name: fmt.Sprint(i)})
	}
	inputs := &inference.ModelInferRequest{ModelName: "m", Inputs: many.Inputs}
	outputs := &inference.ModelInferRequest{ModelName: "m", Outputs: many.Outputs}
	most := &inference.ModelInferRequest{ModelName: "m", Inputs: many.Inputs[:1024], Outputs: many.Outputs[:1024]}
	if _, err := Parse(most, nil); err != nil {
		t.Error(err)
	}
	twice := &inference.ModelInferRequest{ModelName: "m", Inputs: append(many.Inputs[:1000:1000], many.Inputs[7])}
	both := message(t, `inputs { name: "x" datatype: "INT8" shape: [1] } raw_input_contents: "a"`)
	for _, c := range []struct {
		m    *inference.ModelInferRequest
		raw  [][][]byte
		want string
	}{
		{nil, nil, "model_name: it is empty"},
		{inputs, nil, "inputs: 1025 of them, at most 1024 are taken"},
		{outputs, nil, "outputs: 1025 are asked for, at most 1024 can be"},
		{twice, nil, `input "7": it is there twice`},
		{both, [][][]byte{{{'a'}}}, "raw_input_contents: some are in the message and some beside it"},
		{&inference.ModelInferRequest{ModelName: "m\xff"}, nil, `model_name: "m\xff" is not UTF-8`},
		{&inference.ModelInferRequest{ModelName: "m", Inputs: []*inference.ModelInferRequest_InferInputTensor{nil}}, nil, "input 0: name: it is empty"},
		{&inference.ModelInferRequest{ModelName: "m", Outputs: []*inference.ModelInferRequest_InferRequestedOutputTensor{nil}}, nil, "output 0: name: it is empty"},
	} {
		if _, err := Parse(c.m, c.raw); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// A time that no Duration holds is as good as none.
func TestLongTimeout(t *testing.T) {
	r, err := Parse(message(t, parameter("timeout", "uint64_param: 18446744073709551615")), nil)
	if err != nil || r.Timeout < 100*365*24*time.Hour {
		t.Errorf("%v, %v", r, err)
	}
}

func BenchmarkParse(b *testing.B) {
	m := message(b, `model_name: "asr" inputs { name: "audio" datatype: "FP32" shape: [1, 256] }`)
	raw := [][][]byte{{make([]byte, 1024)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(m, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseTyped(b *testing.B) {
	m := message(b, `model_name: "asr" inputs { name: "audio" datatype: "FP32" shape: [1, 256] contents {} }`)
	m.Inputs[0].Contents.Fp32Contents = make([]float32, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(m, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKind(b *testing.B) {
	r := &Request{Inputs: []Input{{Tensor: Tensor{"audio", FP32, []int64{1, 256}}}}}
	b.ReportAllocs()
	for b.Loop() {
		if Kind(r) == "" {
			b.Fatal("no kind")
		}
	}
}
