// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
)

// sizes is every dtype: the elements of a block, its bytes, and NumPy's descr.
// The ordinary ones are safetensors' (dtype.rs), the others what ggml-common.h
// asserts.
const sizes = `
BOOL 1 1 |b1
U8 1 1 |u1
I8 1 1 |i1
U16 1 2 <u2
I16 1 2 <i2
U32 1 4 <u4
I32 1 4 <i4
U64 1 8 <u8
I64 1 8 <i8
F16 1 2 <f2
BF16 1 2 <V2
F32 1 4 <f4
F64 1 8 <f8
C64 1 8 <c8
C128 1 16 <c16
F8_E4M3 1 1 |V1
F8_E5M2 1 1 |V1
F8_E8M0 1 1 |V1
F8_E4M3FNUZ 1 1 |V1
F8_E5M2FNUZ 1 1 |V1
F6_E2M3 4 3 |u1
F6_E3M2 4 3 |u1
F4 2 1 |u1
I4 2 1 |u1
U4 2 1 |u1
Q4_0 32 18 |u1
Q4_1 32 20 |u1
Q5_0 32 22 |u1
Q5_1 32 24 |u1
Q8_0 32 34 |u1
Q8_1 32 36 |u1
Q2_K 256 84 |u1
Q3_K 256 110 |u1
Q4_K 256 144 |u1
Q5_K 256 176 |u1
Q6_K 256 210 |u1
Q8_K 256 292 |u1
IQ2_XXS 256 66 |u1
IQ2_XS 256 74 |u1
IQ3_XXS 256 98 |u1
IQ1_S 256 50 |u1
IQ4_NL 32 18 |u1
IQ3_S 256 110 |u1
IQ2_S 256 82 |u1
IQ4_XS 256 136 |u1
IQ1_M 256 56 |u1
TQ1_0 256 54 |u1
TQ2_0 256 66 |u1
MXFP4 32 17 |u1
NVFP4 64 36 |u1
Q1_0 128 18 |u1
Q2_0 64 18 |u1
`

func TestDTypes(t *testing.T) {
	all := DTypes()
	lines := strings.Split(strings.TrimSpace(sizes), "\n")
	if len(all) != len(lines) {
		t.Fatalf("%d types, want %d", len(all), len(lines))
	}
	for i, d := range all {
		elements, bytes := d.Block()
		if got := fmt.Sprintf("%s %d %d %s", d, elements, bytes, d.NumPy()); got != lines[i] {
			t.Errorf("got %q, want %q", got, lines[i])
		}
		if d.IsBlock() != (elements > 1) {
			t.Errorf("%s: IsBlock is %v", d, d.IsBlock())
		}
		if parsed, ok := ParseDType(d.String()); !ok || parsed != d {
			t.Errorf("ParseDType(%q) = %v, %v", d, parsed, ok)
		}
		checkJSON(t, d)
		if n, err := d.NBytes([]int64{3, 2 * elements}); err != nil || n != 6*bytes {
			t.Errorf("%s: [3 %d] has %d bytes, %v", d, 2*elements, n, err)
		}
		if n, err := d.NBytes([]int64{7, 0}); err != nil || n != 0 {
			t.Errorf("%s: [7 0] has %d bytes, %v", d, n, err)
		}
	}
}

func checkJSON(t *testing.T, d DType) {
	t.Helper()
	text, err := json.Marshal(map[string]DType{"dtype": d})
	if err != nil || string(text) != `{"dtype":"`+d.String()+`"}` {
		t.Errorf("%s: JSON %s, %v", d, text, err)
	}
	var back map[string]DType
	if err := json.Unmarshal(text, &back); err != nil || back["dtype"] != d {
		t.Errorf("%s: back from JSON %v, %v", d, back, err)
	}
}

func TestNoDType(t *testing.T) {
	for _, name := range []string{"", "f32", "F32 ", "Q4_2", "DType(0)"} {
		if d, ok := ParseDType(name); ok {
			t.Errorf("ParseDType(%q) = %v", name, d)
		}
		var d DType
		if err := json.Unmarshal([]byte(`"`+name+`"`), &d); err == nil {
			t.Errorf("unmarshalled %q: %v", name, d)
		}
	}
	for _, d := range []DType{0, U4 + 1, Q4_0 - 1, Q2_0 + 1, 255} {
		if got, want := d.String(), fmt.Sprintf("DType(%d)", uint8(d)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if _, err := d.NBytes([]int64{1}); !errors.Is(err, ErrShape) {
			t.Errorf("%s has a size: %v", d, err)
		}
		if e, b := d.Block(); e != 0 || b != 0 || d.IsBlock() || d.NumPy() != "" {
			t.Errorf("%s is a type", d)
		}
	}
}

func TestNBytes(t *testing.T) {
	const huge = math.MaxInt64
	for _, c := range []struct {
		dtype DType
		shape []int64
		want  int64 // -1: ErrShape
	}{
		{F32, nil, 4},
		{F32, []int64{}, 4},
		{F32, []int64{512, 80, 3}, 512 * 80 * 3 * 4},
		{F32, []int64{0}, 0},
		{F32, []int64{-1}, -1},
		{F32, []int64{0, -1}, -1},
		{F32, []int64{math.MinInt64}, -1},
		{U8, []int64{huge}, huge},
		{U8, []int64{huge, 1, 1}, huge},
		{U8, []int64{huge, 2}, -1},
		{U8, []int64{1 << 32, 1 << 31}, -1},
		{U8, []int64{1 << 32, 1<<31 - 1}, 1<<63 - 1<<32},
		{U8, []int64{1 << 32, 1 << 32}, -1}, // 64 bits of product are all 0
		{U8, []int64{0, huge, huge}, 0},
		{U8, []int64{huge, huge, 0}, -1}, // as safetensors: in the order of the shape
		{F64, []int64{1 << 60}, -1},
		{F64, []int64{1<<60 - 1}, 1<<63 - 8},
		{C128, []int64{1 << 59}, -1},
		// Below 8 bits: the whole must be bytes, the rows need not.
		{F4, []int64{3, 2}, 3},
		{F4, []int64{2, 3}, 3},
		{F4, []int64{3, 3}, -1},
		{F4, nil, -1},
		{F4, []int64{huge - 1}, huge / 2},
		{I4, []int64{2, 3}, 3},
		{U4, []int64{5}, -1},
		{F6E2M3, []int64{4}, 3},
		{F6E3M2, []int64{2, 2}, 3},
		{F6E3M2, []int64{2, 3}, -1},
		{F6E2M3, []int64{huge - 3}, (huge - 3) / 4 * 3},
		// GGML: every row is whole blocks.
		{Q4_0, []int64{32}, 18},
		{Q4_0, []int64{5, 64}, 5 * 2 * 18},
		{Q4_0, []int64{64, 5}, -1},
		{Q4_0, []int64{2, 16}, -1},
		{Q4_0, nil, -1},
		{Q4_0, []int64{0, 5}, -1},
		{Q4_0, []int64{5, 0}, 0},
		{Q8_0, []int64{huge - 31}, -1}, // 34 bytes for 32 elements
		{Q4_K, []int64{256, 256}, 256 * 144},
		{Q4_K, []int64{128, 512}, 128 * 2 * 144},
		{NVFP4, []int64{3, 64}, 108},
		{Q1_0, []int64{128}, 18},
	} {
		n, err := c.dtype.NBytes(c.shape)
		if c.want < 0 {
			if !errors.Is(err, ErrShape) {
				t.Errorf("%s %v: %d, %v, want ErrShape", c.dtype, c.shape, n, err)
			}
			continue
		}
		if err != nil || n != c.want {
			t.Errorf("%s %v: %d, %v, want %d", c.dtype, c.shape, n, err, c.want)
		}
	}
}

// FuzzNBytes compares with numbers of any size.
func FuzzNBytes(f *testing.F) {
	f.Add(uint8(F32), int64(2), int64(3), int64(4))
	f.Add(uint8(Q8_0), int64(1<<40), int64(1<<20), int64(32))
	f.Add(uint8(F4), int64(math.MaxInt64), int64(1), int64(2))
	f.Fuzz(func(t *testing.T, d uint8, a, b, c int64) {
		dtype, shape := DType(d), []int64{a, b, c}
		elements, bytes := dtype.Block()
		if elements == 0 {
			return
		}
		n, err := dtype.NBytes(shape)
		want := big.NewInt(1)
		for _, x := range shape {
			if want.Mul(want, big.NewInt(x)); x < 0 || !want.IsInt64() {
				if err == nil {
					t.Errorf("%s %v: %d", dtype, shape, n)
				}
				return
			}
		}
		rest := new(big.Int)
		want.DivMod(want, big.NewInt(elements), rest)
		want.Mul(want, big.NewInt(bytes))
		row := dtype >= Q4_0 && c%elements != 0
		if bad := rest.Sign() != 0 || row || !want.IsInt64(); bad != (err != nil) || !bad && n != want.Int64() {
			t.Errorf("%s %v: %d, %v, want %v", dtype, shape, n, err, want)
		}
	})
}
