// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import "testing"

// FuzzParse takes whole archives.
func FuzzParse(f *testing.F) {
	f.Add(sound(f))
	f.Add(archive(f, array("a.npy", 4)))
	f.Add(zip64(1 << 63))
	f.Add(directoryEnd(1, 0, 0))
	f.Fuzz(func(t *testing.T, file []byte) {
		size := int64(len(file))
		if ix, err := parse.Look(t, file, size); err == nil {
			check(t, ix, size)
		}
	})
}
