// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import (
	"encoding/binary"
	"slices"
	"testing"
)

// FuzzParse takes whole files.
func FuzzParse(f *testing.F) {
	f.Add(sound())
	f.Add(write(3, few(1), graph{"", []entry{{name: "a", dtype: 3, buffer: 1}}}))
	f.Add([]byte("\x08\x00\x00\x00TFL3\x08\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, file []byte) { takes(t, file) })
}

func takes(t *testing.T, file []byte) {
	if ix, err := parse.Look(t, file, int64(len(file))); err == nil {
		check(t, ix, int64(len(file)))
	}
}

// FuzzNumbers puts other numbers in a sound model: offsets, places in vtables,
// lengths and dimensions are all aligned to their size.
func FuzzNumbers(f *testing.F) {
	file := sound()
	for at := range uint16(len(file) / 4) {
		f.Add(at, uint32(0), false, at+7, uint32(16), true)
		f.Add(at, uint32(1<<31), false, at*3, uint32(1), false)
		f.Add(at, uint32(len(file)-4*int(at)-4), false, at*5, uint32(0xffff), true)
	}
	f.Fuzz(func(t *testing.T, at uint16, v uint32, narrow bool, at2 uint16, v2 uint32, narrow2 bool) {
		file := slices.Clone(file)
		for _, c := range []struct {
			at     uint16
			v      uint32
			narrow bool
		}{{at, v, narrow}, {at2, v2, narrow2}} {
			if c.narrow {
				binary.LittleEndian.PutUint16(file[2*(int(c.at)%(len(file)/2)):], uint16(c.v))
			} else {
				binary.LittleEndian.PutUint32(file[4*(int(c.at)%(len(file)/4)):], c.v)
			}
		}
		takes(t, file)
	})
}
