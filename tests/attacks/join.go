// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"encoding/binary"
	"fmt"
)

// join puts parts behind each other: texts and bytes as they are, numbers in
// little-endian order by their width.
func join(parts ...any) []byte {
	le := binary.LittleEndian
	b := []byte{}
	for _, part := range parts {
		switch v := part.(type) {
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		case byte:
			b = append(b, v)
		case uint16:
			b = le.AppendUint16(b, v)
		case uint32:
			b = le.AppendUint32(b, v)
		case int32:
			b = le.AppendUint32(b, uint32(v))
		case uint64:
			b = le.AppendUint64(b, v)
		case int64:
			b = le.AppendUint64(b, uint64(v))
		default:
			panic(fmt.Sprintf("join: a %T has no width", part))
		}
	}
	return b
}

// concat is join for parts of one kind.
func concat(parts ...[]byte) []byte {
	b := []byte{}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// padTo appends zeros up to a multiple of n.
func padTo(b []byte, n int) []byte {
	for len(b)%n != 0 {
		b = append(b, 0)
	}
	return b
}
