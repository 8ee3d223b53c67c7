// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/binary"
	"math"
	"sync"
)

var le = binary.LittleEndian

// The bits of F32 that the types of 16 bits are compared with.
const (
	infinity   = 0xff << 23
	quiet      = 1 << 22          // of a NaN
	halfNormal = (127 - 14) << 23 // the least normal F16
	halfEnd    = (127 + 16) << 23 // beyond every finite F16
	halfShift  = (127 - 15) << 23 // between the exponents of F32 and F16
)

// widenHalf is F16 as F32, bits to bits: IEEE 754's value, a NaN made quiet with its
// sign and its payload, as the processor's own instruction does it.
func widenHalf(h uint16) uint32 {
	sign, rest := uint32(h>>15)<<31, uint32(h&0x7fff)<<13
	switch {
	case h&0x7c00 == 0:
		return sign | bits(float32(h&0x3ff)*0x1p-24)
	case h&0x7c00 < 0x7c00:
		return sign | (rest + halfShift)
	case h&0x3ff == 0:
		return sign | infinity
	}
	return sign | infinity | quiet | rest
}

// halfOf is F32 as F16, bits to bits: to the nearest, ties to even, beyond 65519.99
// infinite; a NaN keeps its sign and the upper bits of its payload, and is quiet.
func halfOf(f uint32) uint16 {
	sign, f := uint16(f>>16&0x8000), f&^(1<<31)
	switch {
	case f-halfNormal < halfEnd-halfNormal:
		return sign | uint16((f-halfShift+0xfff+f>>13&1)>>13)
	case f < halfNormal:
		// 0.5 has the last place of the least F16: the addition rounds.
		return sign | uint16(bits(float(f)+0.5)-bits(0.5))
	case f <= infinity:
		return sign | 0x7c00
	}
	return sign | 0x7e00 | uint16(f>>13)&0x3ff
}

// brainOf is F32 as BF16, bits to bits: to the nearest, ties to even. Every NaN is
// 0x7fc0.
func brainOf(f uint32) uint16 {
	if f&^(1<<31) > infinity {
		return 0x7fc0
	}
	return uint16((f + 0x7fff + f>>16&1) >> 16)
}

// The tables of all 2^16 values. They are made when they are first needed, never
// change, and are faster than arithmetic: 6.5 GB/s of F32 from F16 on one core, 3 GB/s
// with the usual shifts, or with two small tables.
var (
	halves = sync.OnceValue(func() *[1 << 16]uint32 {
		var t [1 << 16]uint32
		for i := range t {
			t[i] = widenHalf(uint16(i))
		}
		return &t
	})
	halfToBrain = sync.OnceValue(func() *[1 << 16]uint16 {
		var t [1 << 16]uint16
		for i := range t {
			t[i] = brainOf(widenHalf(uint16(i)))
		}
		return &t
	})
	brainToHalf = sync.OnceValue(func() *[1 << 16]uint16 {
		var t [1 << 16]uint16
		for i := range t {
			t[i] = halfOf(uint32(i) << 16)
		}
		return &t
	})
)

func f16ToF32(dst, src []byte) {
	t := halves()
	for len(src) >= 8 && len(dst) >= 16 {
		s, d := (*[8]byte)(src), (*[16]byte)(dst)
		x := le.Uint64(s[:])
		le.PutUint32(d[0:], t[uint16(x)])
		le.PutUint32(d[4:], t[uint16(x>>16)])
		le.PutUint32(d[8:], t[uint16(x>>32)])
		le.PutUint32(d[12:], t[uint16(x>>48)])
		src, dst = src[8:], dst[16:]
	}
	for len(src) >= 2 {
		le.PutUint32(dst, t[le.Uint16(src)])
		src, dst = src[2:], dst[4:]
	}
}

// pairs converts between types of 16 bits.
func pairs(t *[1 << 16]uint16) Func {
	return func(dst, src []byte) {
		for len(src) >= 8 && len(dst) >= 8 {
			s, d := (*[8]byte)(src), (*[8]byte)(dst)
			x := le.Uint64(s[:])
			le.PutUint16(d[0:], t[uint16(x)])
			le.PutUint16(d[2:], t[uint16(x>>16)])
			le.PutUint16(d[4:], t[uint16(x>>32)])
			le.PutUint16(d[6:], t[uint16(x>>48)])
			src, dst = src[8:], dst[8:]
		}
		for len(src) >= 2 {
			le.PutUint16(dst, t[le.Uint16(src)])
			src, dst = src[2:], dst[2:]
		}
	}
}

// bf16ToF32 is exact; a NaN keeps all its bits.
func bf16ToF32(dst, src []byte) {
	for len(src) >= 32 && len(dst) >= 64 {
		s, d := (*[32]byte)(src), (*[64]byte)(dst)
		widenBrains((*[16]byte)(d[0:]), le.Uint64(s[0:]))
		widenBrains((*[16]byte)(d[16:]), le.Uint64(s[8:]))
		widenBrains((*[16]byte)(d[32:]), le.Uint64(s[16:]))
		widenBrains((*[16]byte)(d[48:]), le.Uint64(s[24:]))
		src, dst = src[32:], dst[64:]
	}
	for len(src) >= 2 {
		le.PutUint32(dst, uint32(le.Uint16(src))<<16)
		src, dst = src[2:], dst[4:]
	}
}

func widenBrains(d *[16]byte, x uint64) {
	const first, second = 0xffff << 16, 0xffff << 48
	le.PutUint64(d[0:], x<<16&first|x<<32&second)
	le.PutUint64(d[8:], x>>16&first|x&second)
}

func f32ToF16(dst, src []byte) {
	for len(src) >= 8 && len(dst) >= 4 {
		s, d := (*[8]byte)(src), (*[4]byte)(dst)
		le.PutUint16(d[0:], halfOf(le.Uint32(s[0:])))
		le.PutUint16(d[2:], halfOf(le.Uint32(s[4:])))
		src, dst = src[8:], dst[4:]
	}
	if len(src) >= 4 {
		le.PutUint16(dst, halfOf(le.Uint32(src)))
	}
}

// f32ToBF16 rounds two numbers in one register: a carry from the lower one into the
// upper one needs a NaN.
func f32ToBF16(dst, src []byte) {
	const both = 1<<32 | 1
	for len(src) >= 8 && len(dst) >= 4 {
		s, d := (*[8]byte)(src), (*[4]byte)(dst)
		x := le.Uint64(s[:])
		if nan := x&^(both<<31) + (1<<31-1-infinity)*both; nan&(both<<31) == 0 {
			x += 0x7fff*both + x>>16&both
			le.PutUint32(d[:], uint32(x>>16)&0xffff|uint32(x>>32)&0xffff0000)
		} else {
			le.PutUint16(d[0:], brainOf(uint32(x)))
			le.PutUint16(d[2:], brainOf(uint32(x>>32)))
		}
		src, dst = src[8:], dst[4:]
	}
	if len(src) >= 4 {
		le.PutUint16(dst, brainOf(le.Uint32(src)))
	}
}

// f64ToF32 rounds as the processor does; a NaN is quiet and keeps its sign and the
// upper bits of its payload.
func f64ToF32(dst, src []byte) {
	for len(src) >= 8 {
		le.PutUint32(dst, bits(float32(math.Float64frombits(le.Uint64(src)))))
		src, dst = src[8:], dst[4:]
	}
}
