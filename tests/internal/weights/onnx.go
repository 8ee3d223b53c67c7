// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package weights

import (
	"encoding/binary"
	"slices"
)

// ExternalONNX is an ONNX model whose one tensor, "w" of n bytes, is in another file.
func ExternalONNX(location string, n int) []byte {
	number := func(field byte, n uint64) []byte { return binary.AppendUvarint([]byte{field << 3}, n) }
	bytes := func(field byte, parts ...[]byte) []byte {
		b := slices.Concat(parts...)
		return append(binary.AppendUvarint([]byte{field<<3 | 2}, uint64(len(b))), b...)
	}
	const uint8Type, external = 2, 1
	place := bytes(13, bytes(1, []byte("location")), bytes(2, []byte(location)))
	tensor := slices.Concat(number(1, uint64(n)), number(2, uint8Type), bytes(8, []byte("w")), place, number(14, external))
	return slices.Concat(number(1, 8), bytes(7, bytes(5, tensor)))
}
