// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

import "testing"

// FuzzParse takes files that begin with the bytes and are followed by zeros.
func FuzzParse(f *testing.F) {
	f.Add(sound(), uint64(0))
	f.Add(framed(2, dict("<c16", "True", "(9, 1, 2)")), uint64(288))
	f.Add(framed(3, "{\"shape\":(2L,),\"fortran_order\":False,'descr':'=u8',}\n"), uint64(16))
	f.Add([]byte("\x93NUMPY\x03\x00\xff\xff\xff\xff"), uint64(1<<40))
	f.Fuzz(func(t *testing.T, begin []byte, more uint64) {
		size := int64(len(begin)) + int64(more&(1<<62-1))
		if ix, err := parse.Look(t, begin, size); err == nil {
			check(t, ix, size)
		}
	})
}

// FuzzText takes the dict, whose length is right.
func FuzzText(f *testing.F) {
	f.Add(dict("<f4", "True", "(2, 3)"), uint64(24))
	f.Add(dict("|b1", "False", "()"), uint64(1))
	f.Add(dict(">f8", "True", "(2, 3)"), uint64(48))
	f.Add(dict("<U1", "False", "(2,)"), uint64(8))
	f.Add(dict("<i8", "True", "(0, 9223372036854775807, 4294967296)"), uint64(0))
	f.Add(dict("<f8", "False", "(4294967296, 4294967296)"), uint64(1<<62))
	f.Fuzz(func(t *testing.T, text string, more uint64) {
		begin := framed(2, text)
		size := int64(len(begin)) + int64(more&(1<<62-1))
		if ix, err := parse.Look(t, begin, size); err == nil {
			check(t, ix, size)
		}
	})
}
