// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
)

func refTo(path string) call.Ref { return call.Ref{Path: path, Bytes: -1} }

func tensor(d call.Datatype, shape ...int64) call.Tensor {
	return call.Tensor{Name: "x", Datatype: d, Shape: shape}
}

// npyFile is one as NumPy writes it.
func npyFile(descr string, fortran bool, shape string, data []byte) []byte {
	order := "False"
	if fortran {
		order = "True"
	}
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, order, shape)
	head += strings.Repeat(" ", 127-10-len(head)) + "\n"
	return append([]byte("\x93NUMPY\x01\x00\x76\x00"+head), data...)
}

func TestInput(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/a", 0o755, f.me())
	data := []byte("0123456789abcdefghijklmn")
	f.file("sessions/a/raw", data, 0o600, f.me())
	f.file("sessions/a/empty", nil, 0o600, f.me())
	f.file("sessions/a/ok.npy", npyFile("<f4", false, "(2, 3)", data), 0o600, f.me())
	f.file("sessions/a/fortran.npy", npyFile("<f4", true, "(2, 3)", data), 0o600, f.me())
	f.file("sessions/a/row.npy", npyFile("<f4", true, "(1, 6)", data), 0o600, f.me()) // both orders are one
	f.file("sessions/a/big.npy", npyFile(">f4", false, "(2, 3)", data), 0o600, f.me())
	f.file("sessions/a/short.npy", npyFile("<f4", false, "(2, 4)", data), 0o600, f.me())
	f.file("sessions/a/bf16.npy", npyFile("<V2", false, "(12,)", data), 0o600, f.me())
	f.file("sessions/a/objects.npy", npyFile("|O", false, "(3,)", data), 0o600, f.me())
	f.file("sessions/a/raw.npy", data, 0o600, f.me())
	f.file("sessions/a/empty.npy", nil, 0o600, f.me())
	at := func(path string, offset, bytes int64) call.Ref {
		return call.Ref{Path: "sessions/a/" + path, Offset: offset, Bytes: bytes}
	}
	for _, c := range []struct {
		name string
		t    call.Tensor
		ref  call.Ref
		want string
		err  error
	}{
		{"whole", tensor(call.FP32, 2, 3), at("raw", 0, -1), string(data), nil},
		{"the first", tensor(call.UINT8, 3), at("raw", 0, -1), "012", nil},
		{"a part", tensor(call.UINT8, 3), at("raw", 10, 3), "abc", nil},
		{"the end", tensor(call.UINT8, 1), at("raw", 23, -1), "n", nil},
		{"nothing", tensor(call.UINT8, 0, math.MaxInt64), at("raw", 24, 0), "", nil},
		{"nothing of nothing", tensor(call.UINT8, 0), at("empty", 0, -1), "", nil},
		{"a number", tensor(call.UINT8), at("raw", 1, -1), "1", nil},
		{"texts", tensor(call.BYTES, 1), at("raw", 20, -1), "klmn", nil},
		{"texts, a part", tensor(call.BYTES, 1), at("raw", 20, 2), "kl", nil},
		{"too many", tensor(call.FP32, 2, 4), at("raw", 0, -1), "", ErrBounds},
		{"over the end", tensor(call.UINT8, 3), at("raw", 22, -1), "", ErrBounds},
		{"behind the end", tensor(call.UINT8, 0), at("raw", 25, 0), "", ErrBounds},
		{"before the start", tensor(call.UINT8, 1), at("raw", -1, 1), "", ErrBounds},
		{"far", tensor(call.UINT8, 1), at("raw", math.MaxInt64, 1), "", ErrBounds},
		{"texts over the end", tensor(call.BYTES, 1), at("raw", 20, 5), "", ErrBounds},
		{"texts, far", tensor(call.BYTES, 1), at("raw", 20, math.MaxInt64), "", ErrBounds},
		{"other bytes", tensor(call.UINT8, 3), at("raw", 0, 4), "", ErrMismatch},
		{"overflow", tensor(call.FP64, 1<<40, 1<<40), at("raw", 0, -1), "", ErrMismatch},
		{"overflow to 0", tensor(call.FP64, 1<<32, 1<<32), at("raw", 0, -1), "", ErrMismatch},
		{"negative", tensor(call.FP64, -1), at("raw", 0, -1), "", ErrMismatch},
		{"npy", tensor(call.FP32, 2, 3), at("ok.npy", 0, -1), string(data), nil},
		{"npy in a row", tensor(call.FP32, 1, 6), at("row.npy", 0, 24), string(data), nil},
		{"npy of BF16", tensor(call.BF16, 12), at("bf16.npy", 0, -1), "", ErrMismatch}, // NumPy has none: raw bytes of nobody knows what
		{"npy, another shape", tensor(call.FP32, 3, 2), at("ok.npy", 0, -1), "", ErrMismatch},
		{"npy, another type", tensor(call.INT32, 2, 3), at("ok.npy", 0, -1), "", ErrMismatch},
		{"npy, texts", tensor(call.BYTES, 2, 3), at("ok.npy", 0, -1), "", ErrMismatch},
		{"npy, an offset", tensor(call.FP32, 2, 3), at("ok.npy", 128, -1), "", ErrMismatch},
		{"npy, columns", tensor(call.FP32, 2, 3), at("fortran.npy", 0, -1), "", ErrMismatch},
		{"npy, big-endian", tensor(call.FP32, 2, 3), at("big.npy", 0, -1), "", ErrMismatch},
		{"npy, cut", tensor(call.FP32, 2, 4), at("short.npy", 0, -1), "", ErrMismatch},
		{"npy of objects", tensor(call.INT64, 3), at("objects.npy", 0, -1), "", ErrMismatch},
		{"no npy", tensor(call.UINT8, 24), at("raw.npy", 0, -1), "", ErrMismatch},
		{"an empty npy", tensor(call.UINT8, 0), at("empty.npy", 0, -1), "", ErrMismatch},
	} {
		before := descriptorCount(t)
		r, err := f.Opener.Input(context.Background(), f.me(), c.t, c.ref)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err == nil {
			to := make([]byte, len(c.want)+1)
			n, err := r.Read(to)
			if string(to[:n]) != c.want || err != nil || r.Place().Bytes != n || r.Place().File.Writable {
				t.Errorf("%s: %q %v", c.name, to[:n], err)
			}
			if _, err := r.Read(make([]byte, max(len(c.want)-1, 0))); len(c.want) > 0 && !errors.Is(err, ErrBounds) {
				t.Errorf("%s: into less memory: %v", c.name, err)
			}
			if err := r.Write(to[:n]); n > 0 && err == nil {
				t.Errorf("%s: an input can be written", c.name)
			}
			r.Close()
			r.Close()
		}
		f.forget()
		if after := descriptorCount(t); after != before {
			t.Errorf("%s: %d descriptors, %d before", c.name, after, before)
		}
	}
}

// TestAttributes: what a raw file says of itself is not contradicted.
func TestAttributes(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/a", 0o755, f.me())
	f.file("sessions/a/b", make([]byte, 24), 0o600, f.me())
	set := func(name, value string) {
		t.Helper()
		if err := unix.Setxattr(f.at("sessions/a/b"), "user.modelfs."+name, []byte(value), 0); err != nil {
			t.Skip("no attributes here: ", err)
		}
	}
	input := func(x call.Tensor) error {
		r, err := f.Opener.Input(context.Background(), f.me(), x, refTo("sessions/a/b"))
		if err == nil {
			r.Close()
		}
		return err
	}
	set("dtype", "F32")
	set("shape", "[2,3]")
	if err := errors.Join(input(tensor(call.FP32, 2, 3)), input(tensor(call.FP32, 2, 3))); err != nil {
		t.Errorf("as they say: %v", err)
	}
	for _, x := range []call.Tensor{tensor(call.FP32, 3, 2), tensor(call.INT32, 2, 3), tensor(call.BYTES, 2, 3)} {
		if err := input(x); !errors.Is(err, ErrMismatch) {
			t.Errorf("%v: %v", x, err)
		}
	}
	set("dtype", "I32") // they may change, and are asked for again
	if err := input(tensor(call.INT32, 2, 3)); err != nil {
		t.Errorf("after a change: %v", err)
	}
	set("shape", "nonsense")
	set("dtype", strings.Repeat("F", 2000))
	if err := input(tensor(call.INT32, 6)); !errors.Is(err, ErrMismatch) || len(err.Error()) > 1000 {
		t.Errorf("a long name: %v", err)
	}
	set("dtype", "I32")
	if err := input(tensor(call.INT32, 6)); err != nil {
		t.Errorf("a shape that says nothing: %v", err)
	}
}

func TestOutput(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/a", 0o755, f.me())
	f.file("sessions/a/raw", make([]byte, 24), 0o600, f.me())
	f.file("sessions/a/ok.npy", npyFile("<f4", false, "(2, 3)", make([]byte, 24)), 0o600, f.me())
	output := func(path string, offset, bytes int64) *Resolved {
		t.Helper()
		r := must(f.Opener.Output(context.Background(), f.me(), call.Ref{Path: path, Offset: offset, Bytes: bytes}))(t)
		t.Cleanup(func() { r.Close() })
		return r
	}
	r := output("sessions/a/raw", 4, -1)
	if p := r.Place(); p.Offset != 4 || p.Bytes != 20 || !p.File.Writable || p.File.Size != 24 || p.File.Data != nil || p.File != r.Place().File {
		t.Errorf("place is %+v", p)
	}
	if err := errors.Join(r.Fits(tensor(call.UINT8, 20), 20), r.Fits(tensor(call.BYTES, 1), 0), r.Write([]byte("abc"))); err != nil {
		t.Error(err)
	}
	if got := must(os.ReadFile(f.at("sessions/a/raw")))(t); !bytes.Equal(got[:8], []byte("\x00\x00\x00\x00abc\x00")) || len(got) != 24 {
		t.Errorf("the file is %q", got)
	}
	if err := r.Fits(tensor(call.UINT8, 21), 21); !errors.Is(err, ErrBounds) {
		t.Errorf("too much: %v", err)
	}
	if err := r.Write(make([]byte, 21)); !errors.Is(err, ErrBounds) {
		t.Errorf("too much: %v", err)
	}
	if p := output("sessions/a/raw", 4, 8).Place(); p.Bytes != 8 {
		t.Errorf("of 8 bytes: %+v", p)
	}
	n := output("sessions/a/ok.npy", 0, -1)
	if p := n.Place(); p.Offset != 128 || p.Bytes != 24 {
		t.Errorf("place is %+v", p)
	}
	if err := n.Fits(tensor(call.FP32, 2, 3), 24); err != nil {
		t.Error(err)
	}
	for _, x := range []call.Tensor{tensor(call.FP32, 3, 2), tensor(call.INT32, 2, 3)} {
		if err := n.Fits(x, 24); !errors.Is(err, ErrMismatch) {
			t.Errorf("%v: %v", x, err)
		}
	}
	for _, c := range []call.Ref{{Path: "sessions/a/raw", Offset: 0, Bytes: 25}, {Path: "sessions/a/raw", Offset: 24, Bytes: 1}, {Path: "sessions/a/raw", Offset: -1, Bytes: 1}, {Path: "sessions/a/raw", Offset: 25, Bytes: -1}} {
		if _, err := f.Opener.Output(context.Background(), f.me(), c); !errors.Is(err, ErrBounds) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := f.Opener.Output(context.Background(), f.me(), refTo("sessions/a/none")); !errors.Is(err, ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	f.do(os.Truncate(f.at("sessions/a/raw"), 3))
	if err := r.Write([]byte("abc")); !errors.Is(err, ErrBounds) {
		t.Errorf("a file that shrank: %v", err)
	}
	if st := must(os.Stat(f.at("sessions/a/raw")))(t); st.Size() != 3 {
		t.Errorf("it grew again to %d", st.Size())
	}
}

// TestUnknownCaller: who is not known is not root, and gets nothing.
func TestUnknownCaller(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/a", 0o755, f.me())
	f.file("sessions/a/b", []byte("x"), 0o666, f.me())
	key, _ := f.shm([]byte("x"), 0o666, f.me())
	nobody := caller.Caller{Key: "address 127.0.0.1"}
	me := f.me()
	known := caller.Caller{User: &me}
	ctx := context.Background()
	x, region := tensor(call.UINT8, 1), call.Ref{Region: "r", Bytes: 1}
	all := func(r *References, c caller.Caller) map[string]error {
		errs := map[string]error{}
		_, errs["input"] = r.Input(ctx, c, x, refTo("sessions/a/b"))
		_, errs["output"] = r.Output(ctx, c, refTo("sessions/a/b"))
		errs["register"] = r.Register(ctx, c, "r", key, 0, 1)
		_, errs["region in"] = r.Input(ctx, c, x, region)
		_, errs["region out"] = r.Output(ctx, c, region)
		_, errs["status"] = r.Status(c, "")
		errs["unregister"] = r.Unregister(c, "")
		return errs
	}
	for what, err := range all(New(f.Opener, true), nobody) {
		if !errors.Is(err, ErrUnknownCaller) {
			t.Errorf("nobody, %s: %v", what, err)
		}
	}
	for what, err := range all(New(f.Opener, true), known) {
		if err != nil {
			t.Errorf("the control, %s: %v", what, err)
		}
	}
	for what, err := range all(New(f.Opener, false), known) {
		if file := what == "input" || what == "output"; file && err != nil || !file && !errors.Is(err, ErrOff) {
			t.Errorf("without shared memory, %s: %v", what, err)
		}
	}
	var off *References
	for what, err := range all(off, known) {
		if !errors.Is(err, ErrOff) {
			t.Errorf("without references, %s: %v", what, err)
		}
	}
	if off.Close() != nil || off.ClientMemory() {
		t.Error("nil References allow something")
	}
}
