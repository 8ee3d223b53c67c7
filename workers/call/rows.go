// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"encoding/binary"
	"fmt"
)

// RowRange is where rows of a batch lie in a tensor's bytes: n of them from first on,
// along the first dimension. The bytes are a whole tensor's; of BYTES, whose elements
// have lengths of their own, that is checked. The error is an *Error.
func RowRange(t Tensor, data []byte, first, n int) (from, to int64, err error) {
	wrong := func(format string, args ...any) (int64, int64, error) {
		return 0, 0, &Error{fmt.Sprintf("tensor %q", t.Name), fmt.Sprintf(format, args...)}
	}
	if len(t.Shape) == 0 || first < 0 || n < 0 || int64(first)+int64(n) > t.Shape[0] {
		return wrong("shape %v has no %d rows from %d on", t.Shape, n, first)
	}
	each, ok := Elements(t.Shape[1:])
	if !ok {
		return wrong("shape %v is too large", t.Shape)
	}
	if size := int64(t.Datatype.Size()); size > 0 {
		row := each * size
		if int64(len(data)) != row*t.Shape[0] {
			return wrong("%d bytes, shape %v of %v has %d", len(data), t.Shape, t.Datatype, row*t.Shape[0])
		}
		return int64(first) * row, int64(first+n) * row, nil
	}
	at := int64(0)
	skip := func(elements int64) bool {
		for ; elements > 0; elements-- {
			if int64(len(data))-at < 4 {
				return false
			}
			length := int64(binary.LittleEndian.Uint32(data[at:]))
			if at += 4; int64(len(data))-at < length {
				return false
			}
			at += length
		}
		return true
	}
	if !skip(each * int64(first)) {
		return wrong("its elements end early")
	}
	from = at
	if !skip(each * int64(n)) {
		return wrong("its elements end early")
	}
	return from, at, nil
}
