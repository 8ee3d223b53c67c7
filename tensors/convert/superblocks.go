// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

// The types with 256 elements in a block ("K-quants" and others), each 16 or 32 of
// them with a scale of their own.

// rowsOf unpacks fields of 2 bits: of each 32 bytes first the lowest ones, then the
// next. q gets four times the bytes of s.
func rowsOf(q *[256]byte, s *[64]byte) {
	for i := 0; i < 32; i += 8 {
		a, b := le.Uint64(s[i:i+8]), le.Uint64(s[32+i:40+i])
		le.PutUint64(q[i:i+8], a&low2)
		le.PutUint64(q[32+i:40+i], a>>2&low2)
		le.PutUint64(q[64+i:72+i], a>>4&low2)
		le.PutUint64(q[96+i:104+i], a>>6&low2)
		le.PutUint64(q[128+i:136+i], b&low2)
		le.PutUint64(q[160+i:168+i], b>>2&low2)
		le.PutUint64(q[192+i:200+i], b>>4&low2)
		le.PutUint64(q[224+i:232+i], b>>6&low2)
	}
}

func (t *factors) q2K(dst, src []byte) {
	var q [256]byte
	h := halves()
	for len(src) >= 84 {
		s, out := (*[84]byte)(src), (*[1024]byte)(dst)
		d, m := half(h, s[80:]), half(h, s[82:])
		rowsOf(&q, (*[64]byte)(s[16:]))
		for g := range 16 {
			t.scale((*[64]byte)(out[64*g:]), (*[16]byte)(q[16*g:]), d*float32(s[g]&15), -float32(m*float32(s[g]>>4)))
		}
		src, dst = src[84:], dst[1024:]
	}
}

func (t *factors) q3K(dst, src []byte) {
	var q [256]byte
	var scales [16]byte
	h := halves()
	for len(src) >= 110 {
		s, out := (*[110]byte)(src), (*[1024]byte)(dst)
		d := half(h, s[108:])
		rowsOf(&q, (*[64]byte)(s[32:]))
		thirds(&q, (*[32]byte)(s[0:]))
		sixes(&scales, (*[12]byte)(s[96:]))
		for g := range 16 {
			t.scale((*[64]byte)(out[64*g:]), (*[16]byte)(q[16*g:]), d*float32(int8(scales[g])), nothing())
		}
		src, dst = src[110:], dst[1024:]
	}
}

// thirds adds Q3_K's third bits to fields of two: a bit that is not set counts -4.
func thirds(q *[256]byte, mask *[32]byte) {
	for i := 0; i < 32; i += 8 {
		m := le.Uint64(mask[i : i+8])
		for row := i; row < 256; row += 32 {
			b := q[row : row+8]
			le.PutUint64(b, minus(le.Uint64(b)|m&ones<<2, 4))
			m >>= 1
		}
	}
}

// sixes unpacks Q3_K's 16 scales of 6 bits, of which 32 is subtracted.
func sixes(scales *[16]byte, s *[12]byte) {
	const fields = low2 & 0xffffffff
	x, y := le.Uint64(s[0:]), le.Uint32(s[8:])
	h0 := uint64(y&fields) | uint64(y>>2&fields)<<32
	h1 := uint64(y>>4&fields) | uint64(y>>6&fields)<<32
	le.PutUint64(scales[0:], minus(x&low4|h0<<4, 32))
	le.PutUint64(scales[8:], minus(x>>4&low4|h1<<4, 32))
}

// scaleMin is the scale and the minimum of the g-th 32 elements of Q4_K and Q5_K, in
// 6 bits each.
func scaleMin(s *[12]byte, g int) (scale, minimum float32) {
	if g &= 7; g < 4 {
		return float32(s[g] & 63), float32(s[4+g] & 63)
	}
	return float32(s[4+g]&15 | s[g-4]>>6<<4), float32(s[4+g]>>4 | s[g]>>6<<4)
}

// fours unpacks 256 elements of 4 bits: of each 32 bytes first the lower halves.
func fours(q *[256]byte, s *[128]byte) {
	for g := range 4 {
		from, to := (*[32]byte)(s[32*g:]), (*[64]byte)(q[64*g:])
		for i := 0; i < 32; i += 8 {
			x := le.Uint64(from[i : i+8])
			le.PutUint64(to[i:i+8], x&low4)
			le.PutUint64(to[32+i:40+i], x>>4&low4)
		}
	}
}

func (t *factors) q4K(dst, src []byte) {
	var q [256]byte
	h := halves()
	for len(src) >= 144 {
		s, out := (*[144]byte)(src), (*[1024]byte)(dst)
		d, m := half(h, s[0:]), half(h, s[2:])
		fours(&q, (*[128]byte)(s[16:]))
		for g := range 8 {
			scale, minimum := scaleMin((*[12]byte)(s[4:]), g)
			t.scale32((*[128]byte)(out[128*g:]), (*[32]byte)(q[32*g:]), d*scale, -float32(m*minimum))
		}
		src, dst = src[144:], dst[1024:]
	}
}

func (t *factors) q5K(dst, src []byte) {
	var q [256]byte
	h := halves()
	for len(src) >= 176 {
		s, out := (*[176]byte)(src), (*[1024]byte)(dst)
		d, m := half(h, s[0:]), half(h, s[2:])
		fours(&q, (*[128]byte)(s[48:]))
		for i := 0; i < 32; i += 8 {
			x := le.Uint64(s[16+i : 24+i])
			for row := i; row < 256; row += 32 {
				b := q[row : row+8]
				le.PutUint64(b, le.Uint64(b)|x&ones<<4)
				x >>= 1
			}
		}
		for g := range 8 {
			scale, minimum := scaleMin((*[12]byte)(s[4:]), g)
			t.scale32((*[128]byte)(out[128*g:]), (*[32]byte)(q[32*g:]), d*scale, -float32(m*minimum))
		}
		src, dst = src[176:], dst[1024:]
	}
}

func (t *factors) q6K(dst, src []byte) {
	var q [256]byte
	h := halves()
	for len(src) >= 210 {
		s, out := (*[210]byte)(src), (*[1024]byte)(dst)
		d := half(h, s[208:])
		for g := range 2 {
			lower, upper, to := (*[64]byte)(s[64*g:]), (*[32]byte)(s[128+32*g:]), (*[128]byte)(q[128*g:])
			for i := 0; i < 32; i += 8 {
				a, b, x := le.Uint64(lower[i:i+8]), le.Uint64(lower[32+i:40+i]), le.Uint64(upper[i:i+8])
				le.PutUint64(to[i:i+8], minus(a&low4|x&low2<<4, 32))
				le.PutUint64(to[32+i:40+i], minus(b&low4|x>>2&low2<<4, 32))
				le.PutUint64(to[64+i:72+i], minus(a>>4&low4|x>>4&low2<<4, 32))
				le.PutUint64(to[96+i:104+i], minus(b>>4&low4|x>>6&low2<<4, 32))
			}
		}
		for g := range 16 {
			t.scale((*[64]byte)(out[64*g:]), (*[16]byte)(q[16*g:]), d*float32(int8(s[192+g])), nothing())
		}
		src, dst = src[210:], dst[1024:]
	}
}

// xs is IQ4_XS.
func (t *factors) xs(dst, src []byte) {
	var q [32]byte
	h := halves()
	for len(src) >= 136 {
		s, out := (*[136]byte)(src), (*[1024]byte)(dst)
		d, upper, lower := half(h, s[0:]), le.Uint16(s[2:]), le.Uint32(s[4:])
		for g := range 8 {
			scale := int32(lower>>(4*g)&15|uint32(upper>>(2*g)&3)<<4) - 32
			nibbles(&q, (*[16]byte)(s[8+16*g:]), 0)
			t.scale32((*[128]byte)(out[128*g:]), &q, d*float32(scale), nothing())
		}
		src, dst = src[136:], dst[1024:]
	}
}

// tq1_0 has five elements of three values in a byte: the most significant digit of
// the byte, as a fraction of 256 in base 3, is the first.
func (t *factors) tq1_0(dst, src []byte) {
	var q [256]byte
	h := halves()
	for len(src) >= 54 {
		s, out := (*[54]byte)(src), (*[1024]byte)(dst)
		digits(q[:160], s[:32])
		digits(q[160:240], s[32:48])
		digits(q[240:], s[48:52])
		d := half(h, s[52:])
		for g := range 16 {
			t.scale((*[64]byte)(out[64*g:]), (*[16]byte)(q[16*g:]), d, nothing())
		}
		src, dst = src[54:], dst[1024:]
	}
}

// digits fills q with the first digits of all bytes, less one, then the second ones,
// and so on.
func digits(q, s []byte) {
	for power := byte(1); len(q) >= len(s); power *= 3 {
		for i, b := range s {
			q[i] = byte(uint16(b*power)*3>>8) - 1
		}
		q = q[len(s):]
	}
}

func (t *factors) tq2_0(dst, src []byte) {
	var q [256]byte
	h := halves()
	for len(src) >= 66 {
		s, out := (*[66]byte)(src), (*[1024]byte)(dst)
		rowsOf(&q, (*[64]byte)(s[0:]))
		for i := 0; i < 256; i += 8 {
			b := q[i : i+8]
			le.PutUint64(b, minus(le.Uint64(b), 1))
		}
		d := half(h, s[64:])
		for g := range 16 {
			t.scale((*[64]byte)(out[64*g:]), (*[16]byte)(q[16*g:]), d, nothing())
		}
		src, dst = src[66:], dst[1024:]
	}
}
