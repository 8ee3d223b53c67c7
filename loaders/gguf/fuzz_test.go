// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"encoding/binary"
	"slices"
	"testing"
)

// FuzzParse takes files that begin with the bytes and are followed by zeros.
func FuzzParse(f *testing.F) {
	s := sound().b
	f.Add(s[:len(s)-332], uint64(332))
	f.Add(start(0, 0).b, uint64(0))
	f.Add(startOf(2, 1, 0).tensor("a", 0, 0, 1<<62).b, uint64(1<<62))
	f.Add(start(2, 0).tensor("a", 9, 0, 32, 4).tensor("b", 9, 160, 32).b, uint64(300))
	f.Add(start(1, 1).key("general.alignment", typeU32).u32(1).tensor("a", 42, 0, 64, 1, 1, 1).b, uint64(18))
	f.Add(start(1<<63, 1<<63).b, uint64(100))
	f.Fuzz(func(t *testing.T, begin []byte, more uint64) {
		size := int64(len(begin)) + int64(more&(1<<62-1))
		if ix, err := parse.Look(t, begin, size); err == nil {
			check(t, ix, size)
		}
	})
}

// FuzzNumbers puts a number in the place of eight bytes of a sound header: counts,
// lengths, dimensions and offsets.
func FuzzNumbers(f *testing.F) {
	sound := sound().b
	header := sound[:len(sound)-332]
	for _, at := range []uint16{8, 16, 24, 650} {
		for _, n := range []uint64{0, 1, 1 << 31, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			f.Add(at, n, uint16(24), uint64(0))
		}
	}
	f.Fuzz(func(t *testing.T, at uint16, n uint64, at2 uint16, n2 uint64) {
		file := slices.Clone(sound)
		binary.LittleEndian.PutUint64(file[int(at)%(len(header)-8):], n)
		binary.LittleEndian.PutUint64(file[int(at2)%(len(header)-8):], n2)
		size := int64(len(file))
		if ix, err := parse.Look(t, file, size); err == nil {
			check(t, ix, size)
		}
	})
}
