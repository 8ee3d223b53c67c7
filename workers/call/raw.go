// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import "encoding/binary"

// raw takes an input's bytes as they arrived, in pieces, if they are what shape and
// datatype say.
func (in *Input) raw(pieces [][]byte) error {
	have := int64(0)
	for _, p := range pieces {
		have += int64(len(p))
	}
	switch in.Datatype {
	case BYTES:
		in.Bytes = have
		if err := in.elements(pieces); err != nil {
			return err
		}
	case BOOL:
		if have != in.Bytes {
			return in.wrongSize(have)
		}
		if at, b, ok := notBool(pieces); ok {
			return in.wrong("byte %d of its raw contents is %d, BOOL is 0 or 1", at, b)
		}
	default:
		if have != in.Bytes {
			return in.wrongSize(have)
		}
	}
	in.Raw = pieces
	if in.Raw == nil {
		in.Raw = [][]byte{}
	}
	return nil
}

func (in *Input) wrongSize(have int64) error {
	return in.wrong("%d bytes of raw contents, expected %d for shape %s of %v", have, in.Bytes, shapeText(in.Shape), in.Datatype)
}

// elements checks that raw contents are as many elements of BYTES as the shape says, no
// byte more or less: each has its length before it.
func (in *Input) elements(pieces [][]byte) error {
	want, _ := Elements(in.Shape)
	if want > in.Bytes/4 {
		return in.wrong("%d bytes of raw contents cannot be %d elements for shape %s of BYTES: each has 4 bytes of length", in.Bytes, want, shapeText(in.Shape))
	}
	left, c := in.Bytes, cursor{pieces: pieces}
	for i := range want {
		if left < 4 {
			return in.wrong("element %d of %d (shape %s of BYTES) is cut off: %d of 4 bytes of length", i, want, shapeText(in.Shape), left)
		}
		var length [4]byte
		c.read(length[:])
		left -= 4
		n := int64(binary.LittleEndian.Uint32(length[:]))
		if n > left {
			return in.wrong("element %d of %d (shape %s of BYTES) says that it has %d bytes, %d are left", i, want, shapeText(in.Shape), n, left)
		}
		c.skip(n)
		left -= n
	}
	if left > 0 {
		return in.wrong("%d bytes after the last of %d elements for shape %s of BYTES", left, want, shapeText(in.Shape))
	}
	return nil
}

// cursor goes through pieces; the caller knows how much there is.
type cursor struct {
	pieces [][]byte
	at     int // in the first
}

func (c *cursor) read(to []byte) {
	for len(to) > 0 {
		n := copy(to, c.pieces[0][c.at:])
		to = to[n:]
		c.skip(int64(n))
	}
}

func (c *cursor) skip(n int64) {
	for len(c.pieces) > 0 {
		here := int64(len(c.pieces[0]) - c.at)
		if n < here {
			c.at += int(n)
			return
		}
		n -= here
		c.pieces, c.at = c.pieces[1:], 0
	}
}

// notBool finds the first byte that is neither 0 nor 1.
func notBool(pieces [][]byte) (at int64, value byte, found bool) {
	for _, p := range pieces {
		i := 0
		for ; len(p)-i >= 8; i += 8 {
			if binary.LittleEndian.Uint64(p[i:])&^0x0101010101010101 != 0 {
				break
			}
		}
		for ; i < len(p); i++ {
			if p[i] > 1 {
				return at + int64(i), p[i], true
			}
		}
		at += int64(len(p))
	}
	return 0, 0, false
}
