// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package weights

import "encoding/binary"

// Pattern returns n bytes that tell the seed and the place: no two pages of it,
// nor of two seeds, are the same.
func Pattern(seed uint64, n int) []byte {
	b := make([]byte, (n+7)/8*8)
	x := mix(seed + 1)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], x^uint64(i)*0x9e3779b97f4a7c15)
	}
	return b[:n]
}

// mix is the last step of splitmix64: neighbouring seeds become far apart.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
