// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// noise is n bytes.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// converted is the whole in one call.
func converted(t *testing.T, src, dst tensors.DType, in []byte) []byte {
	t.Helper()
	f, ok := From(src, dst)
	if !ok {
		t.Fatalf("%s to %s: none", src, dst)
	}
	elements, width := src.Block()
	_, out := dst.Block()
	b := make([]byte, int64(len(in))/width*elements*out)
	f(b, in)
	return b
}

// fill makes a tensor in a buffer that was not empty.
func fill(t *testing.T, ts tensors.Tensor, file io.ReaderAt) []byte {
	t.Helper()
	dst := bytes.Repeat([]byte{0xaa}, int(ts.NBytes))
	if err := ts.Maker.Make(t.Context(), file, dst); err != nil {
		t.Fatal(err)
	}
	return dst
}

func TestTensor(t *testing.T) {
	for _, c := range []struct {
		src, dst tensors.DType
		shape    []int64
	}{
		{tensors.F32, tensors.F16, nil},
		{tensors.F32, tensors.F16, []int64{0}},
		{tensors.F16, tensors.F32, []int64{3, 5}},
		{tensors.BF16, tensors.F32, []int64{7, 31, 1009}}, // several pieces, the last one not whole
		{tensors.F64, tensors.BF16, []int64{65537}},
		{tensors.Q4_K, tensors.F32, []int64{5, 256}},
		{tensors.Q4_0, tensors.F16, []int64{33, 32 * 1000}},
		{tensors.Q6_K, tensors.BF16, []int64{3, 0}},
		{tensors.U8, tensors.F32, []int64{300_000}},
	} {
		n, err := c.src.NBytes(c.shape)
		if err != nil {
			t.Fatal(err)
		}
		const offset = 13
		file := noise(offset + int(n))
		from := tensors.Tensor{Name: "x", DType: c.src, Shape: c.shape, NBytes: n, File: "f", Offset: offset}
		to, err := Tensor(&from, c.dst)
		if err != nil {
			t.Fatal(err)
		}
		if size, _ := c.dst.NBytes(c.shape); to.NBytes != size || to.DType != c.dst || to.Name != "x" || to.File != "f" || to.Offset != 0 || !slices.Equal(to.Shape, c.shape) {
			t.Errorf("%+v", to)
		}
		if !bytes.Equal(fill(t, to, bytes.NewReader(file)), converted(t, c.src, c.dst, file[offset:])) {
			t.Errorf("%s%v to %s", c.src, c.shape, c.dst)
		}
	}
}

func TestSameTensor(t *testing.T) {
	from := tensors.Tensor{DType: tensors.F32, Shape: []int64{2, 3}, Strides: []int64{1, 2}, NBytes: 24, Offset: 8}
	to, err := Tensor(&from, tensors.F32)
	if err != nil || to.Maker != nil || to.Offset != 8 || to.Strides == nil {
		t.Errorf("%+v, %v", to, err)
	}
}

// TestStrided compares slabs of many sizes with a gathered whole.
func TestStrided(t *testing.T) {
	for _, c := range []struct{ shape, strides []int64 }{
		{[]int64{4, 6}, []int64{1, 4}},
		{[]int64{3, 4, 5}, []int64{1, 15, 3}},
		{[]int64{2, 3, 4}, []int64{0, 4, 1}},
		{[]int64{5, 7}, []int64{10, 1}},
		{[]int64{6}, []int64{3}},
		{[]int64{2, 1, 3, 2}, []int64{6, 99, 1, 3}},
	} {
		n, _ := tensors.F32.NBytes(c.shape)
		from := tensors.Tensor{DType: tensors.F32, Shape: c.shape, Strides: c.strides, NBytes: n, Offset: 6}
		file := noise(6 + int(from.Extent()))
		r := bytes.NewReader(file)
		whole := make([]byte, n)
		if err := tensors.Gather(t.Context(), whole, r, &from); err != nil {
			t.Fatal(err)
		}
		want := converted(t, tensors.F32, tensors.F16, whole)
		to, err := Tensor(&from, tensors.F16)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(fill(t, to, r), want) || to.Strides != nil {
			t.Errorf("%v by %v", c.shape, c.strides)
		}
		f, _ := From(tensors.F32, tensors.F16)
		for room := int64(4); room <= n; room += 4 {
			s := strided{ctx: t.Context(), file: r, f: f, in: 4, out: 2, room: room}
			dst := bytes.Repeat([]byte{0xaa}, len(want))
			if err := s.convert(dst, &from); err != nil || !bytes.Equal(dst, want) {
				t.Errorf("%v by %v in %d bytes: %v", c.shape, c.strides, room, err)
			}
			if int64(len(s.buf)) > room {
				t.Errorf("%d bytes, %d are allowed", len(s.buf), room)
			}
		}
	}
}

// made is a Maker of given bytes.
type made struct {
	b   []byte
	err error
}

func (m made) Make(_ context.Context, _ io.ReaderAt, dst []byte) error {
	copy(dst, m.b)
	return m.err
}

func TestMade(t *testing.T) {
	b := noise(4 * 300_000)
	from := tensors.Tensor{DType: tensors.F32, Shape: []int64{300_000}, NBytes: int64(len(b)), Maker: made{b: b}}
	to, err := Tensor(&from, tensors.BF16)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fill(t, to, nil), converted(t, tensors.F32, tensors.BF16, b)) {
		t.Error("other bytes")
	}
	bad := errors.New("bad")
	from.Maker = made{err: bad}
	to, err = Tensor(&from, tensors.BF16)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Maker.Make(t.Context(), nil, make([]byte, to.NBytes)); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
}

func TestTensorErrors(t *testing.T) {
	for _, c := range []struct {
		src, dst tensors.DType
		shape    []int64
		want     error
	}{
		{tensors.C64, tensors.F32, []int64{2}, ErrUnsupported},
		{tensors.F32, tensors.Q4_0, []int64{32}, ErrUnsupported},
		{tensors.IQ1_S, tensors.F32, []int64{256}, ErrUnsupported},
		{tensors.U8, tensors.F32, []int64{1 << 61}, tensors.ErrShape},
	} {
		n, _ := c.src.NBytes(c.shape)
		if to, err := Tensor(&tensors.Tensor{Name: "x", DType: c.src, Shape: c.shape, NBytes: n}, c.dst); !errors.Is(err, c.want) || to.Maker != nil {
			t.Errorf("%s to %s: %v", c.src, c.dst, err)
		}
	}
	if err := Read(t.Context(), make([]byte, 8), tensors.F32, nil, 0, tensors.C64, 16); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

// failing fails at one byte.
type failing struct {
	at  int64
	err error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.at && f.at < off+int64(len(p)) {
		return int(f.at - off), f.err
	}
	return len(p), nil
}

func TestReadErrors(t *testing.T) {
	const n = 3 << 20
	bad := errors.New("bad")
	dst := make([]byte, 2*n)
	for _, at := range []int64{0, 5, n / 2, n - 1} {
		if err := Read(t.Context(), dst, tensors.F32, failing{at + 100, bad}, 100, tensors.F16, n); !errors.Is(err, bad) {
			t.Errorf("at %d: %v", at, err)
		}
	}
	short := bytes.NewReader(make([]byte, n-1))
	if err := Read(t.Context(), dst, tensors.F32, short, 0, tensors.F16, n); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Read(ctx, dst, tensors.F32, failing{at: -1}, 0, tensors.F16, n); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	from := tensors.Tensor{DType: tensors.F32, Shape: []int64{2, 2}, Strides: []int64{1, 2}, NBytes: 16}
	to, err := Tensor(&from, tensors.F16)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Maker.Make(t.Context(), failing{3, bad}, make([]byte, 8)); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
	if err := to.Maker.Make(ctx, failing{at: -1}, make([]byte, 8)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestMemory: what is needed besides dst does not grow with the tensor.
func TestMemory(t *testing.T) {
	const n = 32 << 20
	dst := make([]byte, n/2)
	r := failing{at: math.MaxInt64}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := Read(t.Context(), dst, tensors.F16, r, 0, tensors.F32, n); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d bytes", got)
	}
}

// TestPrecision: floating-point numbers change, and nothing else does.
func TestPrecision(t *testing.T) {
	for src, want := range map[tensors.DType]tensors.DType{
		tensors.F32: tensors.F16, tensors.F64: tensors.F16, tensors.BF16: tensors.F16, tensors.F8E5M2: tensors.F16,
		tensors.Q4_K: tensors.F16, tensors.F16: tensors.F16,
		tensors.BOOL: tensors.BOOL, tensors.I8: tensors.I8, tensors.U64: tensors.U64, tensors.C64: tensors.C64,
		tensors.IQ2_XS: tensors.IQ2_XS, tensors.F4: tensors.F4, // nothing converts these
	} {
		from := tensors.Tensor{Name: "t", DType: src, Shape: []int64{256}, File: "f", Offset: 5}
		from.NBytes, _ = src.NBytes(from.Shape)
		got := Precision(&from, tensors.F16)
		if got.DType != want || (got == &from) != (src == want) || (got.Maker == nil) != (src == want) {
			t.Errorf("%s: %+v", src, got)
		}
	}
}
