// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"encoding/hex"
	"errors"
	"math/bits"
	"strings"
	"testing"
	"time"

	"github.com/modelfs/modelfs/workers/call"
)

// TestRecords has the records that the server sends, byte by byte as doc.go says.
func TestRecords(t *testing.T) {
	f := &File{Key: 0x11, Size: 0x2000, Writable: true}
	req := &Request{
		Inputs:     []Tensor{{call.Tensor{Name: "abc", Datatype: call.FP32, Shape: []int64{2, 3}}, Place{f, 0x40, 24}}},
		Outputs:    []Tensor{{Tensor: call.Tensor{Name: "outputs8"}}},
		Rows:       2,
		Parameters: map[string]any{"a": 1},
		First:      Place{f, 0x100, 0x200},
	}
	now := time.Now()
	req.Deadline = now.Add(256)
	b, err := appendInfer(nil, 7, req, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"INFER", b, "0400 0000 00000000 0700000000000000" + "1100000000000000 0001000000000000 0002000000000000" +
			"0100 0100 02000000 0001000000000000 07000000 00000000" +
			"1100000000000000 4000000000000000 1800000000000000 0b 02 0300 00000000 0200000000000000 0300000000000000 6162630000000000" +
			"0000000000000000 0000000000000000 0000000000000000 00 00 0800 00000000 6f75747075747338" +
			hex.EncodeToString([]byte(`{"a":1}`))},
		{"REGION", appendRegion(nil, 9, flagNoRoom, Place{}), "0900 0200 00000000 0900000000000000" + strings.Repeat("00", 24)},
		{"FILES", appendFile(appendHeader(nil, typeFiles, 0, 1, 0), f), "0200 0000 01000000 0000000000000000 1100000000000000 0020000000000000 01000000 00000000"},
	} {
		if want := strings.ReplaceAll(c.want, " ", ""); hex.EncodeToString(c.got) != want {
			t.Errorf("%s is\n%x, want\n%s", c.name, c.got, want)
		}
	}
	req.Deadline = now.Add(-time.Second)
	if b, err = appendInfer(nil, 7, req, now); err != nil || little.Uint64(b[48:]) != 1 {
		t.Errorf("a deadline that is over is %x: %v", b[48:56], err)
	}
}

func TestHello(t *testing.T) {
	spec, err := parseHello([]byte(`{"platform":"python","inputs":[{"name":"x","datatype":"BF16","shape":[-1,3]}],"max_batch":4,"concurrency":2,"decoupled":true}`))
	if err != nil || len(spec.Inputs) != 1 || spec.Inputs[0].Datatype != call.BF16 || spec.MaxBatch != 4 || spec.Concurrency != 2 || !spec.Decoupled {
		t.Errorf("%+v, %v", spec, err)
	}
	for _, bad := range []string{
		``, `[]`, `{}`, `{"concurrency":1025}`, `{"concurrency":1,"max_batch":-1}`,
		`{"concurrency":1,"inputs":[{"name":"","datatype":"FP32"}]}`,
		`{"concurrency":1,"inputs":[{"name":"x","datatype":"FLOAT"}]}`,
		`{"concurrency":1,"inputs":[{"name":"x","datatype":"FP32","shape":[-2]}]}`,
		`{"concurrency":1,"inputs":[{"name":"x","datatype":"FP32"},{"name":"x","datatype":"FP32"}]}`,
		`{"concurrency":1,"outputs":[{"name":"x","datatype":"FP32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}]}`,
	} {
		if _, err := parseHello([]byte(bad)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := parseHello([]byte(`{"error":"no such file"}`)); err == nil || errors.Is(err, ErrProtocol) || err.Error() != "no such file" {
		t.Errorf("%v", err)
	}
}

// given is what FuzzRecord's call was given: a region, and a file for one of its outputs.
func given() (*Request, Place) {
	region := &File{Key: 1, Size: 4096, Data: make([]byte, 4096)}
	for i := range region.Data {
		region.Data[i] = byte(i % 5)
	}
	client := &File{Key: 2, Size: 1000}
	req := &Request{Outputs: []Tensor{
		{Tensor: call.Tensor{Name: "y"}},
		{Tensor: call.Tensor{Name: "z"}, Place: Place{client, 100, 500}},
	}}
	return req, Place{region, 64, 1024}
}

// FuzzRecord reads what a handler may send. What is taken lies where it may, and has as
// many bytes as its shape says.
func FuzzRecord(f *testing.F) {
	tensor := func(name string, d call.Datatype, key uint64, offset, n int64, shape ...int64) []byte {
		b, err := appendTensor(nil, &Tensor{call.Tensor{Name: name, Datatype: d, Shape: shape}, Place{&File{Key: key}, offset, n}})
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	result := func(tensors ...[]byte) []byte {
		b := appendHeader(nil, typeResult, flagLast, uint32(len(tensors)), 1)
		for _, t := range tensors {
			b = append(b, t...)
		}
		return b
	}
	f.Add(result(tensor("y", call.FP32, 1, 64, 24, 2, 3), tensor("z", call.UINT8, 2, 100, 500, 500)))
	f.Add(result(tensor("y", call.FP32, 1, 0, 24, 2, 3)))
	f.Add(result(tensor("y", call.FP32, 1, 1080, 24, 2, 3)))
	f.Add(result(tensor("z", call.FP32, 1, 64, 24, 2, 3)))
	f.Add(result(tensor("y", call.FP64, 1, 64, 8, 1<<61, 2, 4)))
	f.Add(result(tensor("y", call.FP64, 1, 64, 0, 1<<62, 1<<62, 0)))
	f.Add(result(tensor("y", call.BYTES, 1, 64, 16, 2)))
	f.Add(result(tensor("y", call.INT8, 1, -1, 1, -1, -1)))
	f.Add(result(tensor("y", call.UINT8, 0, 0, 0, 0), tensor("y", call.UINT8, 0, 0, 0, 0)))
	f.Add(result())
	f.Add(append(appendHeader(nil, typeHello, 0, 0, 0), `{"concurrency":1,"inputs":[{"name":"x","datatype":"FP32","shape":[-1]}]}`...))
	f.Add(append(appendHeader(nil, typeFail, 0, 13, 1), "\xffwhy"...))
	f.Add(append(appendHeader(nil, typeRoom, 0, 0, 1), 0, 0, 0, 0, 0, 0, 0, 128))
	f.Add(append(appendHeader(nil, typeLog, 0, 3, 0), "a line"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		running := &running{id: r.id, events: make(chan event, 4)}
		switch r.kind {
		case typeHello:
			spec, err := parseHello(r.body)
			if err == nil && (spec.Concurrency < 1 || spec.MaxBatch < 0) {
				t.Errorf("%+v", spec)
			}
		case typeFail, typeRoom:
			var e event
			if err := running.accept(r, &e); err != nil || e.room < 0 {
				t.Errorf("%+v, %v", e, err)
			}
		case typeResult:
			var e event
			if running.accept(r, &e) != nil {
				return
			}
			req, region := given()
			if r.id%2 == 0 {
				req.Outputs = nil
			}
			response, err := running.read(req, region, nil, r)
			if err == nil {
				checkOutputs(t, response, req, region)
			}
		}
	})
}

func checkOutputs(t *testing.T, response *Response, req *Request, region Place) {
	t.Helper()
	for _, o := range response.Outputs {
		place := region
		if req.Outputs != nil && o.Name == "z" {
			place = req.Outputs[1].Place
		}
		if o.Bytes > 0 && (o.File != place.File || o.Offset < place.Offset || o.Offset+o.Bytes > place.Offset+place.Bytes) {
			t.Errorf("output %q lies at %d, %d bytes", o.Name, o.Offset, o.Bytes)
		}
		if o.Bytes > 0 && o.File.Data != nil && int64(len(o.Data())) != o.Bytes {
			t.Errorf("output %q has %d bytes, not %d", o.Name, len(o.Data()), o.Bytes)
		}
		want := uint64(o.Datatype.Size())
		for _, n := range o.Shape {
			if n < 0 {
				t.Fatalf("output %q has shape %v", o.Name, o.Shape)
			}
		}
		for _, n := range o.Shape {
			if n == 0 {
				want = 0
			}
		}
		for _, n := range o.Shape {
			over, product := bits.Mul64(want, uint64(n))
			if want > 0 && over > 0 {
				t.Fatalf("output %q has shape %v and %d bytes", o.Name, o.Shape, o.Bytes)
			}
			want = product
		}
		if o.Datatype != call.BYTES && want != uint64(o.Bytes) {
			t.Errorf("output %q of %v %v has %d bytes", o.Name, o.Shape, o.Datatype, o.Bytes)
		}
	}
}

func TestBackoff(t *testing.T) {
	var b backoff
	for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000} {
		if got := b.died(); got != want*time.Millisecond || b.hopeless() != (i >= 2) {
			t.Errorf("death %d: %v, hopeless %v", i+1, got, b.hopeless())
		}
	}
	for range 1000 {
		b.died() // no overflow
	}
	if got := b.died(); got != lastPause {
		t.Error(got)
	}
	b.well()
	if got := b.died(); got != firstPause || b.hopeless() {
		t.Errorf("after an answer: %v", got)
	}
}
