// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"math"
	"testing"
)

func input(name string, d Datatype, shape ...int64) Input {
	return Input{Tensor: Tensor{name, d, shape}}
}

func request(inputs ...Input) *Request { return &Request{Model: "m", Inputs: inputs} }

// Requests of one kind can be joined, those of two cannot.
func TestKind(t *testing.T) {
	byReference := input("a", FP32, 2, 3)
	byReference.Ref = &Ref{Path: "sessions/s/a"}
	with := func(r *Request, parameters map[string]any) *Request {
		r.Parameters = parameters
		return r
	}
	// Each line is a kind; "" is the first.
	lines := [][]*Request{
		{
			request(), request(input("a", FP32)), request(input("a", BYTES, 2)), request(byReference), request(input("a", FP32, 0, 3)),
			request(input("a", FP32, 2), input("b", FP32, 3)), request(input("a", FP32, 2), input("b", FP32)), request(input("b", FP32), input("a", FP32, 2)),
		},
		{request(input("a", FP32, 1, 3)), request(input("a", FP32, 8, 3)), with(request(input("a", FP32, 8, 3)), map[string]any{})},
		{request(input("a", FP32, 1, 4))},
		{request(input("a", FP32, 1)), request(input("a", FP32, 2))},
		{request(input("a", FP32, 1, 3, 1))},
		{request(input("a", INT32, 1, 3))},
		{request(input("b", FP32, 1, 3))},
		{request(input("a", FP32, 2, 3), input("b", INT8, 2)), request(input("a", FP32, 5, 3), input("b", INT8, 5))},
		{request(input("b", INT8, 2), input("a", FP32, 2, 3))},
		{request(input("a FP32[] 1:b", FP32, 2))},
		{request(input("a", FP32, 2), input("b", FP32, 2))},
		{with(request(input("a", FP32, 1, 3)), map[string]any{"t": "1"})},
		{with(request(input("a", FP32, 1, 3)), map[string]any{"t": int64(1)})},
		{with(request(input("a", FP32, 1, 3)), map[string]any{"t": 1.0})},
		{with(request(input("a", FP32, 1, 3)), map[string]any{"t": "1", "u": true}), with(request(input("a", FP32, 1, 3)), map[string]any{"u": true, "t": "1"})},
		{with(request(input("a", FP32, 1, 3)), map[string]any{"t": "1\" \"u\"=bool\"true"})},
	}
	seen := map[string]int{}
	for i, line := range lines {
		for j, r := range line {
			kind := Kind(r)
			if (kind == "") != (i == 0) {
				t.Errorf("line %d, request %d: kind %q", i, j, kind)
			}
			if before, ok := seen[kind]; ok && before != i {
				t.Errorf("line %d, request %d: kind %q is that of line %d, too", i, j, kind, before)
			} else if !ok && j > 0 {
				t.Errorf("line %d, request %d: kind %q is not that of the others", i, j, kind)
			}
			seen[kind] = i
		}
	}
}

func TestRows(t *testing.T) {
	for _, c := range []struct {
		r    *Request
		want int
	}{
		{request(), 1}, {request(input("a", FP32)), 1}, {request(input("a", FP32, 0, 3)), 1}, {request(input("a", FP32, 7, 3)), 7},
		{request(input("a", BYTES, 5)), 5}, {request(input("a", FP32, 2), input("b", FP32, 3)), 1}, {request(input("a", FP32, 2), input("b", INT8, 2, 9)), 2},
	} {
		if got := Rows(c.r); got != c.want {
			t.Errorf("%+v: %d rows, want %d", c.r.Inputs, got, c.want)
		}
	}
}

func TestBytes(t *testing.T) {
	const most = math.MaxInt64
	sixteen := make([]int64, 16)
	for i := range sixteen {
		sixteen[i] = 8
	}
	for _, c := range []struct {
		shape []int64
		d     Datatype
		want  int64
		ok    bool
	}{
		{nil, FP32, 4, true}, {[]int64{3, 5}, FP16, 30, true}, {[]int64{0}, FP64, 0, true}, {[]int64{most}, INT8, most, true},
		{[]int64{most}, INT16, 0, false}, {[]int64{1 << 62, 2}, INT8, 0, false}, {[]int64{1 << 32, 1 << 32}, INT8, 0, false}, {[]int64{0, most}, FP32, 0, false},
		{[]int64{0, most}, INT8, 0, true}, {[]int64{-1}, INT8, 0, false}, {[]int64{0, -1}, INT8, 0, false}, {[]int64{math.MinInt64}, INT8, 0, false},
		{sixteen, FP32, 1 << 50, true}, {append(sixteen, 1), FP32, 0, false}, {[]int64{1}, BYTES, 0, false}, {[]int64{1}, 0, 0, false}, {[]int64{1}, 77, 0, false},
	} {
		if got, ok := Bytes(c.shape, c.d); got != c.want || ok != c.ok {
			t.Errorf("%v of %v: %d, %v, want %d, %v", c.shape, c.d, got, ok, c.want, c.ok)
		}
	}
}

func TestCheck(t *testing.T) {
	model := []Tensor{{"audio", FP32, []int64{-1, 80}}, {"rate", INT64, []int64{}}}
	rate := input("rate", INT64)
	for _, c := range []struct {
		r       *Request
		batched bool
		want    string
	}{
		{request(input("audio", FP32, 3, 80), rate), false, ""},
		{request(rate, input("audio", FP32, 0, 80)), false, ""},
		{request(input("audio", FP32, 4, 3, 80), input("rate", INT64, 4)), true, ""},
		{request(rate), false, `input "audio": it is missing: m takes "audio", "rate"`},
		{request(input("audio", FP32, 3, 80)), false, `input "rate": it is missing: m takes "audio", "rate"`},
		{request(), false, `input "audio": it is missing: m takes "audio", "rate"`},
		{request(input("sound", FP32, 3, 80), rate), false, `input "sound": m has no such input; it has "audio", "rate"`},
		{request(input("audio", FP16, 3, 80), rate), false, `input "audio": it is FP16, expected FP32`},
		{request(input("audio", FP32, 80), rate), false, `input "audio": shape [80] has 1 dimensions, expected [-1,80] (-1: any)`},
		{request(input("audio", FP32, 3, 81), rate), false, `input "audio": shape [3,81], expected [-1,80] (-1: any): dimension 1 is 81`},
		{request(input("audio", FP32, 3, 80), input("rate", INT64, 1)), false, `input "rate": shape [1] has 1 dimensions, expected []`},
		{request(input("audio", FP32, 4, 3, 79), input("rate", INT64, 4)), true, `input "audio": shape [4,3,79], expected [-1,-1,80] (-1: any): dimension 2 is 79`},
		{request(input("audio", FP32, 3, 80), input("rate", INT64, 3)), true, `input "audio": shape [3,80] has 2 dimensions, expected [-1,-1,80] (-1: any)`},
		{request(input("audio", FP32, 4, 3, 80), input("rate", INT64, 5)), true, `input "rate": 5 rows, input "audio" has 4: all have the same`},
		{request(input("audio", FP32, 4, 3, 80), rate), true, `input "rate": shape [] has no rows, expected [-1] (-1: any)`},
		{request(input("audio", FP32, 0, 3, 80), rate), true, `input "audio": shape [0,3,80] has no rows, expected [-1,-1,80] (-1: any)`},
	} {
		got := ""
		if err := Check(c.r, model, c.batched); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.r.Inputs, got, c.want)
		}
	}
	if err := Check(request(input("anything", BYTES, 7)), nil, true); err != nil {
		t.Errorf("a model that says nothing: %v", err)
	}
}

func TestCheckOutputs(t *testing.T) {
	r := request()
	r.Outputs = []Output{{Name: "text"}, {Name: "probs"}}
	if err := CheckOutputs(r, []Tensor{{Name: "probs"}, {Name: "text"}}); err != nil {
		t.Error(err)
	}
	if err := CheckOutputs(r, nil); err != nil {
		t.Error(err)
	}
	err := CheckOutputs(r, []Tensor{{Name: "text"}})
	if want := `output "probs": m has no such output; it has "text"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// The numbers are part of the handlers' records.
func TestDatatypes(t *testing.T) {
	for d := BOOL; d <= BF16; d++ {
		if found, ok := ParseDatatype(d.String()); !ok || found != d {
			t.Errorf("%v: %v, %v", d, found, ok)
		}
	}
	if BOOL != 1 || INT8 != 6 || FP32 != 11 || BYTES != 13 || BF16 != 14 {
		t.Error("a datatype has another number")
	}
	if _, ok := ParseDatatype(""); ok {
		t.Error("there is a datatype without a name")
	}
}
