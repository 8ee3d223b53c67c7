// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

// Integers go to F32 in one rounding, to the nearest, ties to even.

func u16ToF32(dst, src []byte) {
	for len(src) >= 2 {
		le.PutUint32(dst, bits(float32(le.Uint16(src))))
		src, dst = src[2:], dst[4:]
	}
}

func i16ToF32(dst, src []byte) {
	for len(src) >= 2 {
		le.PutUint32(dst, bits(float32(int16(le.Uint16(src)))))
		src, dst = src[2:], dst[4:]
	}
}

func u32ToF32(dst, src []byte) {
	for len(src) >= 4 {
		le.PutUint32(dst, bits(float32(le.Uint32(src))))
		src, dst = src[4:], dst[4:]
	}
}

func i32ToF32(dst, src []byte) {
	for len(src) >= 4 {
		le.PutUint32(dst, bits(float32(int32(le.Uint32(src)))))
		src, dst = src[4:], dst[4:]
	}
}

func u64ToF32(dst, src []byte) {
	for len(src) >= 8 {
		le.PutUint32(dst, bits(float32(le.Uint64(src))))
		src, dst = src[8:], dst[4:]
	}
}

func i64ToF32(dst, src []byte) {
	for len(src) >= 8 {
		le.PutUint32(dst, bits(float32(int64(le.Uint64(src)))))
		src, dst = src[8:], dst[4:]
	}
}
