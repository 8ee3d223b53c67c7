// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"math"

	"github.com/modelfs/modelfs/tensors"
)

// dequantise is the conversion of a block type of GGML to F32, or nil. Layouts are
// those of ggml-common.h, the order of the operations that of gguf.quants in Python,
// whose bits the results have (of NaNs, only that they are).
//
// A block is unpacked to one byte an element, eight at a time in one register. The
// bytes are places in a table of factors, so that all types share scale's loop: it
// does 7.4 GB/s of F32 from Q4_K on one core, where shifts and conversions one by one
// do 4.7. (ggml, which is compiled to vector instructions, does 17 there, and 3.5 from
// Q6_K, where this does 7.1.)
func dequantise(d tensors.DType) Func {
	t := new(factors)
	for i := range t {
		t[i] = float32(int8(i))
	}
	switch d {
	case tensors.Q4_0:
		return t.q4_0
	case tensors.Q4_1:
		return t.q4_1
	case tensors.Q5_0:
		return t.q5_0
	case tensors.Q5_1:
		return t.q5_1
	case tensors.Q8_0:
		return t.q8_0
	case tensors.Q2_K:
		return t.q2K
	case tensors.Q3_K:
		return t.q3K
	case tensors.Q4_K:
		return t.q4K
	case tensors.Q5_K:
		return t.q5K
	case tensors.Q6_K:
		return t.q6K
	case tensors.TQ1_0:
		return t.tq1_0
	case tensors.TQ2_0:
		return t.tq2_0
	case tensors.IQ4_NL:
		return iq4().nl
	case tensors.IQ4_XS:
		return iq4().xs
	case tensors.MXFP4:
		return fp4().mx
	case tensors.NVFP4:
		return fp4().nv
	}
	return nil
}

// factors is what an element's byte stands for: itself as an int8, but for the types
// with a code book.
type factors [256]float32

// iq4 is the code book of IQ4_NL and IQ4_XS.
func iq4() *factors {
	return &factors{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
}

// fp4 has the values of E2M1 (OCP MX 1.0) times two, without a negative zero.
func fp4() *factors {
	return &factors{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
}

// scale makes 16 elements: factor times d, plus m. The conversion of the product
// keeps it from being fused with the sum, which would round once instead of twice.
func (t *factors) scale(dst *[64]byte, q *[16]byte, d, m float32) {
	le.PutUint32(dst[0:], bits(float32(d*t[q[0]])+m))
	le.PutUint32(dst[4:], bits(float32(d*t[q[1]])+m))
	le.PutUint32(dst[8:], bits(float32(d*t[q[2]])+m))
	le.PutUint32(dst[12:], bits(float32(d*t[q[3]])+m))
	le.PutUint32(dst[16:], bits(float32(d*t[q[4]])+m))
	le.PutUint32(dst[20:], bits(float32(d*t[q[5]])+m))
	le.PutUint32(dst[24:], bits(float32(d*t[q[6]])+m))
	le.PutUint32(dst[28:], bits(float32(d*t[q[7]])+m))
	le.PutUint32(dst[32:], bits(float32(d*t[q[8]])+m))
	le.PutUint32(dst[36:], bits(float32(d*t[q[9]])+m))
	le.PutUint32(dst[40:], bits(float32(d*t[q[10]])+m))
	le.PutUint32(dst[44:], bits(float32(d*t[q[11]])+m))
	le.PutUint32(dst[48:], bits(float32(d*t[q[12]])+m))
	le.PutUint32(dst[52:], bits(float32(d*t[q[13]])+m))
	le.PutUint32(dst[56:], bits(float32(d*t[q[14]])+m))
	le.PutUint32(dst[60:], bits(float32(d*t[q[15]])+m))
}

// scale32 makes 32 elements of one scale.
func (t *factors) scale32(dst *[128]byte, q *[32]byte, d, m float32) {
	t.scale((*[64]byte)(dst[:]), (*[16]byte)(q[:]), d, m)
	t.scale((*[64]byte)(dst[64:]), (*[16]byte)(q[16:]), d, m)
}

// nothing is what a type without a minimum adds: x + -0 is x, also for zeros.
func nothing() float32 { return float(1 << 31) }

// half reads a scale.
func half(t *[1 << 16]uint32, b []byte) float32 { return float(t[le.Uint16(b)]) }

// Masks for eight bytes in a register.
const (
	ones = 0x0101010101010101
	low2 = 0x03 * ones
	low4 = 0x0f * ones
	high = 0x80 * ones
)

// minus subtracts n from each of eight bytes; the results are int8s.
func minus(x, n uint64) uint64 { return ((x | high) - n*ones) ^ high }

// spread makes eight bytes, 0 or 1, of eight bits, the lowest first.
func spread(b byte) uint64 {
	const each = 0x8040201008040201 // its bit in each byte
	return (uint64(b)*ones&each + 0x7f*ones) >> 7 & ones
}

// nibbles unpacks 32 elements of 4 bits: the lower halves of the bytes, then the
// upper ones. sub is subtracted.
func nibbles(q *[32]byte, s *[16]byte, sub uint64) {
	a, b := le.Uint64(s[0:]), le.Uint64(s[8:])
	le.PutUint64(q[0:], minus(a&low4, sub))
	le.PutUint64(q[8:], minus(b&low4, sub))
	le.PutUint64(q[16:], minus(a>>4&low4, sub))
	le.PutUint64(q[24:], minus(b>>4&low4, sub))
}

// fives unpacks 32 elements of 5 bits, whose upper bits are in four bytes of their
// own.
func fives(q *[32]byte, h *[4]byte, s *[16]byte, sub uint64) {
	a, b := le.Uint64(s[0:]), le.Uint64(s[8:])
	le.PutUint64(q[0:], minus(a&low4|spread(h[0])<<4, sub))
	le.PutUint64(q[8:], minus(b&low4|spread(h[1])<<4, sub))
	le.PutUint64(q[16:], minus(a>>4&low4|spread(h[2])<<4, sub))
	le.PutUint64(q[24:], minus(b>>4&low4|spread(h[3])<<4, sub))
}

func (t *factors) q4_0(dst, src []byte) {
	var q [32]byte
	h := halves()
	for len(src) >= 18 {
		s := (*[18]byte)(src)
		nibbles(&q, (*[16]byte)(s[2:]), 8)
		t.scale32((*[128]byte)(dst), &q, half(h, s[0:]), nothing())
		src, dst = src[18:], dst[128:]
	}
}

func (t *factors) q4_1(dst, src []byte) {
	var q [32]byte
	h := halves()
	for len(src) >= 20 {
		s := (*[20]byte)(src)
		nibbles(&q, (*[16]byte)(s[4:]), 0)
		t.scale32((*[128]byte)(dst), &q, half(h, s[0:]), half(h, s[2:]))
		src, dst = src[20:], dst[128:]
	}
}

func (t *factors) q5_0(dst, src []byte) {
	var q [32]byte
	h := halves()
	for len(src) >= 22 {
		s := (*[22]byte)(src)
		fives(&q, (*[4]byte)(s[2:]), (*[16]byte)(s[6:]), 16)
		t.scale32((*[128]byte)(dst), &q, half(h, s[0:]), nothing())
		src, dst = src[22:], dst[128:]
	}
}

func (t *factors) q5_1(dst, src []byte) {
	var q [32]byte
	h := halves()
	for len(src) >= 24 {
		s := (*[24]byte)(src)
		fives(&q, (*[4]byte)(s[4:]), (*[16]byte)(s[8:]), 0)
		t.scale32((*[128]byte)(dst), &q, half(h, s[0:]), half(h, s[2:]))
		src, dst = src[24:], dst[128:]
	}
}

func (t *factors) q8_0(dst, src []byte) {
	h := halves()
	for len(src) >= 34 {
		s := (*[34]byte)(src)
		t.scale32((*[128]byte)(dst), (*[32]byte)(s[2:]), half(h, s[0:]), nothing())
		src, dst = src[34:], dst[128:]
	}
}

// nl is IQ4_NL.
func (t *factors) nl(dst, src []byte) {
	var q [32]byte
	h := halves()
	for len(src) >= 18 {
		s := (*[18]byte)(src)
		nibbles(&q, (*[16]byte)(s[2:]), 0)
		t.scale32((*[128]byte)(dst), &q, half(h, s[0:]), nothing())
		src, dst = src[18:], dst[128:]
	}
}

// mx is MXFP4: the scale is half of a power of two, as the factors are doubled.
func (t *factors) mx(dst, src []byte) {
	var q [32]byte
	for len(src) >= 17 {
		s := (*[17]byte)(src)
		d := uint32(s[0]-1) << 23
		if s[0] < 2 {
			d = 1 << 21 << s[0]
		}
		nibbles(&q, (*[16]byte)(s[1:]), 0)
		t.scale32((*[128]byte)(dst), &q, float(d), nothing())
		src, dst = src[17:], dst[128:]
	}
}

// nv is NVFP4: each 16 elements have a scale in E4M3 without a sign.
func (t *factors) nv(dst, src []byte) {
	var q [16]byte
	for len(src) >= 36 {
		s, d := (*[36]byte)(src), (*[256]byte)(dst)
		for g := range 4 {
			x := le.Uint64(s[4+8*g : 12+8*g])
			le.PutUint64(q[0:], x&low4)
			le.PutUint64(q[8:], x>>4&low4)
			t.scale((*[64]byte)(d[64*g:]), &q, unsignedE4M3(s[g]), nothing())
		}
		src, dst = src[36:], dst[256:]
	}
}

// unsignedE4M3 is half of the scale, as the factors are doubled. NaN counts as 0.
func unsignedE4M3(b byte) float32 {
	if b == 0x7f {
		return 0
	}
	exponent, m := int(b>>3&15), float64(b&7)
	if exponent == 0 {
		return float32(m * 0x1p-10)
	}
	return float32(math.Ldexp(8+m, exponent-11))
}
