// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"errors"
	"fmt"
	"math/bits"
)

// DType is the type of a tensor's elements. The zero value is no type.
type DType uint8

// The element types. Names are safetensors'; C128 is NumPy's only, I4 and U4 are
// ONNX's and TFLite's, two in a byte, the first in its lower half. Everything is
// little-endian.
const (
	BOOL DType = iota + 1
	U8
	I8
	U16
	I16
	U32
	I32
	U64
	I64
	F16
	BF16
	F32
	F64
	C64
	C128
	F8E4M3
	F8E5M2
	F8E8M0
	F8E4M3FNUZ
	F8E5M2FNUZ
	F6E2M3
	F6E3M2
	F4
	I4
	U4
)

// GGML's block types: a fixed number of elements shares one block of bytes. The
// sizes are those that ggml-common.h asserts.
const (
	Q4_0 DType = iota + 64
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q8_1
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	Q8_K
	IQ2_XXS
	IQ2_XS
	IQ3_XXS
	IQ1_S
	IQ4_NL
	IQ3_S
	IQ2_S
	IQ4_XS
	IQ1_M
	TQ1_0
	TQ2_0
	MXFP4
	NVFP4
	Q1_0
	Q2_0
)

// ErrShape says that a shape and a dtype make no whole number of bytes, or more
// than 63 bits can count.
var ErrShape = errors.New("shape does not fit its dtype")

type dtype struct {
	name            string
	elements, bytes int64
	npy             string
}

var dtypes = [...]dtype{
	BOOL:       {"BOOL", 1, 1, "|b1"},
	U8:         {"U8", 1, 1, "|u1"},
	I8:         {"I8", 1, 1, "|i1"},
	U16:        {"U16", 1, 2, "<u2"},
	I16:        {"I16", 1, 2, "<i2"},
	U32:        {"U32", 1, 4, "<u4"},
	I32:        {"I32", 1, 4, "<i4"},
	U64:        {"U64", 1, 8, "<u8"},
	I64:        {"I64", 1, 8, "<i8"},
	F16:        {"F16", 1, 2, "<f2"},
	BF16:       {"BF16", 1, 2, "<V2"},
	F32:        {"F32", 1, 4, "<f4"},
	F64:        {"F64", 1, 8, "<f8"},
	C64:        {"C64", 1, 8, "<c8"},
	C128:       {"C128", 1, 16, "<c16"},
	F8E4M3:     {"F8_E4M3", 1, 1, "|V1"},
	F8E5M2:     {"F8_E5M2", 1, 1, "|V1"},
	F8E8M0:     {"F8_E8M0", 1, 1, "|V1"},
	F8E4M3FNUZ: {"F8_E4M3FNUZ", 1, 1, "|V1"},
	F8E5M2FNUZ: {"F8_E5M2FNUZ", 1, 1, "|V1"},
	F6E2M3:     {"F6_E2M3", 4, 3, "|u1"},
	F6E3M2:     {"F6_E3M2", 4, 3, "|u1"},
	F4:         {"F4", 2, 1, "|u1"},
	I4:         {"I4", 2, 1, "|u1"},
	U4:         {"U4", 2, 1, "|u1"},

	Q4_0:    {"Q4_0", 32, 18, "|u1"},
	Q4_1:    {"Q4_1", 32, 20, "|u1"},
	Q5_0:    {"Q5_0", 32, 22, "|u1"},
	Q5_1:    {"Q5_1", 32, 24, "|u1"},
	Q8_0:    {"Q8_0", 32, 34, "|u1"},
	Q8_1:    {"Q8_1", 32, 36, "|u1"},
	Q2_K:    {"Q2_K", 256, 84, "|u1"},
	Q3_K:    {"Q3_K", 256, 110, "|u1"},
	Q4_K:    {"Q4_K", 256, 144, "|u1"},
	Q5_K:    {"Q5_K", 256, 176, "|u1"},
	Q6_K:    {"Q6_K", 256, 210, "|u1"},
	Q8_K:    {"Q8_K", 256, 292, "|u1"},
	IQ2_XXS: {"IQ2_XXS", 256, 66, "|u1"},
	IQ2_XS:  {"IQ2_XS", 256, 74, "|u1"},
	IQ3_XXS: {"IQ3_XXS", 256, 98, "|u1"},
	IQ1_S:   {"IQ1_S", 256, 50, "|u1"},
	IQ4_NL:  {"IQ4_NL", 32, 18, "|u1"},
	IQ3_S:   {"IQ3_S", 256, 110, "|u1"},
	IQ2_S:   {"IQ2_S", 256, 82, "|u1"},
	IQ4_XS:  {"IQ4_XS", 256, 136, "|u1"},
	IQ1_M:   {"IQ1_M", 256, 56, "|u1"},
	TQ1_0:   {"TQ1_0", 256, 54, "|u1"},
	TQ2_0:   {"TQ2_0", 256, 66, "|u1"},
	MXFP4:   {"MXFP4", 32, 17, "|u1"},
	NVFP4:   {"NVFP4", 64, 36, "|u1"},
	Q1_0:    {"Q1_0", 128, 18, "|u1"},
	Q2_0:    {"Q2_0", 64, 18, "|u1"},
}

// row returns the type's row of the table; the empty one for a value that is no
// type.
func (d DType) row() dtype {
	if int(d) < len(dtypes) {
		return dtypes[d]
	}
	return dtype{}
}

// String is the name in index.json: safetensors' or GGML's.
func (d DType) String() string {
	if r := d.row(); r.name != "" {
		return r.name
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// ParseDType is the inverse of String.
func ParseDType(name string) (DType, bool) {
	for d, r := range dtypes {
		if r.name == name && name != "" {
			return DType(d), true
		}
	}
	return 0, false
}

// DTypes lists every type, in the order of the constants.
func DTypes() []DType {
	var all []DType
	for d, r := range dtypes {
		if r.name != "" {
			all = append(all, DType(d))
		}
	}
	return all
}

// Block returns how many elements share how many bytes: (1, 4) for F32, (32, 18)
// for Q4_0, (2, 1) for F4.
func (d DType) Block() (elements, bytes int64) {
	r := d.row()
	return r.elements, r.bytes
}

// IsBlock says whether several elements share a block of bytes, so that one
// element has no address: GGML's block types and those below 8 bits.
func (d DType) IsBlock() bool { return d.row().elements > 1 }

// IsFloat says whether elements are floating-point numbers, or blocks that stand for
// some: what changes with the precision of a model.
func (d DType) IsFloat() bool {
	switch d {
	case F16, BF16, F32, F64:
		return true
	}
	return d >= F8E4M3 && d <= F4 || d.byRow() && d.row().elements > 0
}

// byRow says whether the innermost dimension is a whole number of blocks, which
// GGML demands of its types and safetensors does not of F4 and F6.
func (d DType) byRow() bool { return d >= Q4_0 }

// NumPy is the dtype's descr in an NPY header. Types that NumPy does not have
// keep their width ("<V2" for BF16, "|V1" for F8); block types are bytes.
func (d DType) NumPy() string { return d.row().npy }

// NBytes is the size of a contiguous tensor. It is ErrShape for a negative
// dimension, for a product over 63 bits, and where the blocks do not come out
// even.
func (d DType) NBytes(shape []int64) (int64, error) {
	r := d.row()
	if r.elements == 0 {
		return 0, fmt.Errorf("%s: %w", d, ErrShape)
	}
	n, err := product(shape)
	if err != nil {
		return 0, err
	}
	even := n % r.elements
	if d.byRow() && len(shape) > 0 {
		even = shape[len(shape)-1] % r.elements
	}
	if even != 0 {
		return 0, fmt.Errorf("%v is no whole number of %s blocks of %d: %w", shape, d, r.elements, ErrShape)
	}
	hi, lo := bits.Mul64(uint64(n/r.elements), uint64(r.bytes))
	if hi != 0 || lo>>63 != 0 {
		return 0, fmt.Errorf("%v of %s is over 63 bits of bytes: %w", shape, d, ErrShape)
	}
	return int64(lo), nil
}

// product multiplies dimensions; one that is zero makes the tensor empty, however
// large the others are, but they must not overflow before it.
func product(shape []int64) (int64, error) {
	n := uint64(1)
	for _, x := range shape {
		if x < 0 {
			return 0, fmt.Errorf("dimension %d: %w", x, ErrShape)
		}
		hi, lo := bits.Mul64(n, uint64(x))
		if hi != 0 || lo>>63 != 0 {
			return 0, fmt.Errorf("%v has over 63 bits of elements: %w", shape, ErrShape)
		}
		n = lo
	}
	return int64(n), nil
}

// MarshalText makes the type a string in JSON.
func (d DType) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (d *DType) UnmarshalText(text []byte) error {
	v, ok := ParseDType(string(text))
	if !ok {
		return fmt.Errorf("unknown dtype %q", text)
	}
	*d = v
	return nil
}
