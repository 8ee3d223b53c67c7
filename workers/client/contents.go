// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/binary"
	"math"
)

// little writes each number in so many bytes.
func little[N int32 | int64 | uint32 | uint64](list []N, size int) []byte {
	out := make([]byte, 0, len(list)*size)
	for _, n := range list {
		out = append(out, binary.LittleEndian.AppendUint64(nil, uint64(n))[:size]...)
	}
	return out
}

func littleFloat32(list []float32) []byte {
	out := make([]byte, 0, 4*len(list))
	for _, f := range list {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(f))
	}
	return out
}

func littleFloat64(list []float64) []byte {
	out := make([]byte, 0, 8*len(list))
	for _, f := range list {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(f))
	}
	return out
}

// lengthened writes each element of BYTES behind its length.
func lengthened(list [][]byte) []byte {
	var out []byte
	for _, b := range list {
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(b))), b...)
	}
	return out
}
