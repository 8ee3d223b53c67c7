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
// change, and are faster than arithmetic: 8 GB/s of F32 from F16 on one core, 3 GB/s
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
func pairs(dst, src []byte, t *[1 << 16]uint16) {
	for len(src) >= 8 && len(dst) >= 8 {
		s, d := (*[8]byte)(src), (*[8]byte)(dst)
		x := le.Uint64(s[:])
		le.PutUint32(d[0:], uint32(t[uint16(x)])|uint32(t[uint16(x>>16)])<<16)
		le.PutUint32(d[4:], uint32(t[uint16(x>>32)])|uint32(t[uint16(x>>48)])<<16)
		src, dst = src[8:], dst[8:]
	}
	for len(src) >= 2 {
		le.PutUint16(dst, t[le.Uint16(src)])
		src, dst = src[2:], dst[2:]
	}
}

func f16ToBF16(dst, src []byte) { pairs(dst, src, halfToBrain()) }
func bf16ToF16(dst, src []byte) { pairs(dst, src, brainToHalf()) }

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

// Two lanes of 32 bits in one register.
const (
	both  = 1<<32 | 1
	signs = both << 31
)

// f32ToF16 rounds two numbers in one register where they become normal ones.
func f32ToF16(dst, src []byte) {
	for len(src) >= 32 && len(dst) >= 16 {
		s, d := (*[32]byte)(src), (*[16]byte)(dst)
		x, y, z, w := le.Uint64(s[0:]), le.Uint64(s[8:]), le.Uint64(s[16:]), le.Uint64(s[24:])
		if normalHalves(x)&normalHalves(y)&normalHalves(z)&normalHalves(w) == signs {
			le.PutUint32(d[0:], roundHalves(x))
			le.PutUint32(d[4:], roundHalves(y))
			le.PutUint32(d[8:], roundHalves(z))
			le.PutUint32(d[12:], roundHalves(w))
		} else {
			narrow(d[:], s[:], halfOf)
		}
		src, dst = src[32:], dst[16:]
	}
	narrow(dst, src, halfOf)
}

// normalHalves has the sign bits of the lanes whose numbers round as normal ones.
func normalHalves(x uint64) uint64 {
	x &^= signs
	return (x + (1<<31-halfNormal)*both) &^ (x + (1<<31-halfEnd)*both) & signs
}

func roundHalves(x uint64) uint32 {
	a := x &^ signs
	a = (a - (halfShift-0xfff)*both + a>>13&both) >> 13 & (0x7fff * both)
	a |= x >> 16 & (0x8000 * both)
	return uint32(a | a>>16)
}

// f32ToBF16 rounds two numbers in one register where none is NaN: without one, no
// carry leaves the lower one.
func f32ToBF16(dst, src []byte) {
	for len(src) >= 32 && len(dst) >= 16 {
		s, d := (*[32]byte)(src), (*[16]byte)(dst)
		x, y, z, w := le.Uint64(s[0:]), le.Uint64(s[8:]), le.Uint64(s[16:]), le.Uint64(s[24:])
		if (nans(x)|nans(y)|nans(z)|nans(w))&signs == 0 {
			le.PutUint32(d[0:], roundBrains(x))
			le.PutUint32(d[4:], roundBrains(y))
			le.PutUint32(d[8:], roundBrains(z))
			le.PutUint32(d[12:], roundBrains(w))
		} else {
			narrow(d[:], s[:], brainOf)
		}
		src, dst = src[32:], dst[16:]
	}
	narrow(dst, src, brainOf)
}

// nans has the sign bits of the lanes that are NaN, among others.
func nans(x uint64) uint64 { return x&^signs + (1<<31-1-infinity)*both }

func roundBrains(x uint64) uint32 {
	x += 0x7fff*both + x>>16&both
	return uint32(x>>16)&0xffff | uint32(x>>32)&0xffff0000
}

// narrow converts one by one.
func narrow(dst, src []byte, one func(uint32) uint16) {
	for len(src) >= 4 {
		le.PutUint16(dst, one(le.Uint32(src)))
		src, dst = src[4:], dst[2:]
	}
}

// f64ToF32 rounds as the processor does; a NaN is quiet and keeps its sign and the
// upper bits of its payload.
func f64ToF32(dst, src []byte) {
	for len(src) >= 32 && len(dst) >= 16 {
		s, d := (*[32]byte)(src), (*[16]byte)(dst)
		le.PutUint32(d[0:], bits(float32(math.Float64frombits(le.Uint64(s[0:])))))
		le.PutUint32(d[4:], bits(float32(math.Float64frombits(le.Uint64(s[8:])))))
		le.PutUint32(d[8:], bits(float32(math.Float64frombits(le.Uint64(s[16:])))))
		le.PutUint32(d[12:], bits(float32(math.Float64frombits(le.Uint64(s[24:])))))
		src, dst = src[32:], dst[16:]
	}
	for len(src) >= 8 {
		le.PutUint32(dst, bits(float32(math.Float64frombits(le.Uint64(src)))))
		src, dst = src[8:], dst[4:]
	}
}
