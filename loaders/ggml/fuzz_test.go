// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"encoding/binary"
	"slices"
	"testing"
)

// FuzzParse takes files that begin with the bytes and are followed by zeros.
func FuzzParse(f *testing.F) {
	f.Add(sound().b, uint64(0))
	f.Add(parakeet(2008).tensor("a", 6, 22, 32).b, uint64(0))
	f.Add(silero().tensor("a", 1, 8, 4).b, uint64(0))
	f.Add(whisper(1).header("a", 0, 1<<31-1, 1<<20).b, uint64(1<<31-1)<<22)
	f.Add(start().u32(0x67676a74).b, uint64(100))
	f.Fuzz(func(t *testing.T, begin []byte, more uint64) {
		size := int64(len(begin)) + int64(more&(1<<62-1))
		if ix, err := parse.Look(t, begin, size); err == nil {
			check(t, ix, size)
		}
	})
}

// FuzzNumbers puts numbers in the place of four bytes of sound files: counts,
// lengths, dimensions and types.
func FuzzNumbers(f *testing.F) {
	files := [][]byte{sound().b, parakeet(1).tensor("a", 0, 4, 1).b, silero().tensor("a", 0, 4, 1).b}
	for _, at := range []uint16{4, 32, 52, 80, 103, 107, 111, 128, 154} {
		for _, n := range []uint32{0, 1, 1 << 30, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			f.Add(byte(at), at, n, at+4, n)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, at uint16, n uint32, at2 uint16, n2 uint32) {
		file := slices.Clone(files[int(which)%len(files)])
		binary.LittleEndian.PutUint32(file[4+int(at)%(len(file)-8):], n)
		binary.LittleEndian.PutUint32(file[4+int(at2)%(len(file)-8):], n2)
		size := int64(len(file))
		if ix, err := parse.Look(t, file, size); err == nil {
			check(t, ix, size)
		}
	})
}
