// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"math"

	"github.com/modelfs/modelfs/tensors"
)

// byteValue is what an element of one byte means, as the bits of an F32; nil for
// wider types.
func byteValue(d tensors.DType) func(byte) uint32 {
	switch d {
	case tensors.BOOL:
		return func(b byte) uint32 {
			if b != 0 {
				return bits(1)
			}
			return 0
		}
	case tensors.U8:
		return func(b byte) uint32 { return bits(float32(b)) }
	case tensors.I8:
		return func(b byte) uint32 { return bits(float32(int8(b))) }
	case tensors.F8E4M3:
		return f8E4M3
	case tensors.F8E5M2:
		return func(b byte) uint32 { return widenHalf(uint16(b) << 8) }
	case tensors.F8E8M0:
		return f8E8M0
	case tensors.F8E4M3FNUZ:
		return func(b byte) uint32 { return fnuz(b, 3, 8) }
	case tensors.F8E5M2FNUZ:
		return func(b byte) uint32 { return fnuz(b, 2, 16) }
	}
	return nil
}

// f8E4M3 is the "fn" variant of OCP's 8-bit floats (OFP8 1.0): no infinity, and all
// ones is NaN.
func f8E4M3(b byte) uint32 {
	if b&0x7f == 0x7f {
		return uint32(b>>7)<<31 | infinity | 7<<20
	}
	return tiny(b, 3, 7)
}

// f8E8M0 is a power of two (OCP MX 1.0), without a sign; all ones is NaN.
func f8E8M0(b byte) uint32 {
	switch b {
	case 0:
		return 1 << 22 // 2^-127 is subnormal
	case 255:
		return signalling
	}
	return uint32(b) << 23
}

// signalling is the NaN that torch gives for those of F8_E8M0 and the FNUZ types.
const signalling = infinity | 1

// fnuz is a variant that is finite, has no negative zero, and NaN in its place.
func fnuz(b byte, mantissa, bias int) uint32 {
	if b == 0x80 {
		return signalling
	}
	return tiny(b, mantissa, bias)
}

// tiny is a finite float of 8 bits.
func tiny(b byte, mantissa, bias int) uint32 {
	exponent, m := int(b&0x7f)>>mantissa, int(b)&(1<<mantissa-1)
	if exponent == 0 {
		exponent = 1
	} else {
		m |= 1 << mantissa
	}
	return uint32(b>>7)<<31 | bits(float32(math.Ldexp(float64(m), exponent-bias-mantissa)))
}

func bytes32(value func(byte) uint32) Func {
	t := new([256]uint32)
	for i := range t {
		t[i] = value(byte(i))
	}
	return func(dst, src []byte) { lookUp32(dst, src, t) }
}

func lookUp32(dst, src []byte, t *[256]uint32) {
	for len(src) >= 8 && len(dst) >= 32 {
		s, d := (*[8]byte)(src), (*[32]byte)(dst)
		le.PutUint32(d[0:], t[s[0]])
		le.PutUint32(d[4:], t[s[1]])
		le.PutUint32(d[8:], t[s[2]])
		le.PutUint32(d[12:], t[s[3]])
		le.PutUint32(d[16:], t[s[4]])
		le.PutUint32(d[20:], t[s[5]])
		le.PutUint32(d[24:], t[s[6]])
		le.PutUint32(d[28:], t[s[7]])
		src, dst = src[8:], dst[32:]
	}
	for i, b := range src {
		le.PutUint32(dst[4*i:], t[b])
	}
}

// bytes16 goes by way of F32.
func bytes16(value func(byte) uint32, narrow func(uint32) uint16) Func {
	t := new([256]uint16)
	for i := range t {
		t[i] = narrow(value(byte(i)))
	}
	return func(dst, src []byte) { lookUp16(dst, src, t) }
}

func lookUp16(dst, src []byte, t *[256]uint16) {
	for len(src) >= 8 && len(dst) >= 16 {
		s, d := (*[8]byte)(src), (*[16]byte)(dst)
		le.PutUint32(d[0:], uint32(t[s[0]])|uint32(t[s[1]])<<16)
		le.PutUint32(d[4:], uint32(t[s[2]])|uint32(t[s[3]])<<16)
		le.PutUint32(d[8:], uint32(t[s[4]])|uint32(t[s[5]])<<16)
		le.PutUint32(d[12:], uint32(t[s[6]])|uint32(t[s[7]])<<16)
		src, dst = src[8:], dst[16:]
	}
	for i, b := range src {
		le.PutUint16(dst[2*i:], t[b])
	}
}
