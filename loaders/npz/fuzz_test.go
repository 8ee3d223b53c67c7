// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// mixed has members of every kind.
func mixed(t testing.TB) []byte {
	return archive(t,
		array("a.npy", 40),
		deflated(t, "b/c.npy", npyOf("<u2", "True", "(2, 3)", make([]byte, 12))),
		deflated(t, "big.npy", npyOf(">f4", "False", "(2,)", make([]byte, 8))),
		stored{zip.FileHeader{Name: "text.npy"}, npyOf("<U1", "False", "(1,)", make([]byte, 4))},
		stored{zip.FileHeader{Name: "x.txt"}, []byte("x")},
	)
}

// look parses an archive and makes the arrays of what is taken.
func look(t *testing.T, file []byte) {
	size := int64(len(file))
	ix, err := parse.Look(t, file, size)
	if err != nil {
		return
	}
	check(t, ix, size)
	_, err = makeAll(bytes.NewReader(file), ix, 1<<20)
	if w := (*malformed.Error)(nil); err != nil && !errors.As(err, &w) {
		t.Errorf("the reader is sound, and the error is none of the content: %v", err)
	}
}

// FuzzParse takes whole archives.
func FuzzParse(f *testing.F) {
	f.Add(sound(f))
	f.Add(mixed(f))
	f.Add(archive(f, array("a.npy", 4)))
	f.Add(zip64(1 << 63))
	f.Add(directoryEnd(1, 0, 0))
	f.Fuzz(look)
}

// FuzzNumbers puts numbers of four and two bytes in the place of others in a sound
// archive: sizes, places, methods, flags.
func FuzzNumbers(f *testing.F) {
	file := mixed(f)
	for _, magic := range []string{"PK\x03\x04", "PK\x01\x02", "PK\x05\x06"} {
		at := uint16(bytes.LastIndex(file, []byte(magic)))
		for _, field := range []uint16{6, 8, 10, 18, 22, 26, 28, 42} {
			f.Add(at+field, uint32(8), at+field+2, uint16(1<<16-1))
		}
	}
	f.Fuzz(func(t *testing.T, at uint16, n uint32, at2 uint16, n2 uint16) {
		b := slices.Clone(file)
		binary.LittleEndian.PutUint32(b[int(at)%(len(b)-4):], n)
		binary.LittleEndian.PutUint16(b[int(at2)%(len(b)-2):], n2)
		look(t, b)
	})
}

// FuzzDeflated takes what is in a deflated member, as it is packed and as it is.
func FuzzDeflated(f *testing.F) {
	plain := npyOf("<u2", "True", "(2, 3)", make([]byte, 12))
	f.Add(deflated(f, "", plain).content, plain)
	f.Add([]byte{3, 0}, npyOf(">c16", "True", "(2, 2)", make([]byte, 64)))
	f.Fuzz(func(t *testing.T, packed, plain []byte) {
		m := deflated(t, "a.npy", plain)
		look(t, archive(t, m))
		m.content = packed
		look(t, archive(t, m))
	})
}
