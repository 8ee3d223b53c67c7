// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"testing"
)

// FuzzFunc converts elements of any type at once, and one by one: the loops that take
// several must agree with those that take one, and nothing is written beside dst.
func FuzzFunc(f *testing.F) {
	for i, src := range Sources() {
		_, width := src.Block()
		f.Add(uint8(i), uint8(i), samples(src)[:3*width])
	}
	f.Add(uint8(11), uint8(1), bytes.Repeat([]byte{0, 0, 0x80, 0x7f, 1, 0, 0x80, 0xff}, 9))
	f.Fuzz(func(t *testing.T, from, to uint8, in []byte) {
		src, dst := Sources()[int(from)%len(Sources())], Targets()[int(to)%len(Targets())]
		elements, width := src.Block()
		_, out := dst.Block()
		n := int64(len(in)) / width
		in = in[:n*width]
		size := n * elements * out
		room := bytes.Repeat([]byte{0xaa}, int(size)+64)
		f, _ := From(src, dst)
		f(room[:size:size], in)
		if bytes.Count(room[size:], []byte{0xaa}) != 64 {
			t.Errorf("%s to %s: bytes behind the end are written", src, dst)
		}
		one := make([]byte, elements*out)
		for i := range n {
			f(one, in[i*width:(i+1)*width])
			if whole := room[i*elements*out:][:len(one)]; !bytes.Equal(one, whole) {
				t.Fatalf("%s to %s: %x is %x alone, %x among others", src, dst, in[i*width:(i+1)*width], one, whole)
			}
		}
	})
}
