// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// TestFindings: what is no tensor hides nothing.
func TestFindings(t *testing.T) {
	text := npyOf("<U4", "False", "(2,)", make([]byte, 32))
	file := archive(t,
		array("a.npy", 4),
		stored{zip.FileHeader{Name: "readme.txt", Method: 99}, []byte("text")},
		stored{zip.FileHeader{Name: "text.npy"}, text},
		deflated(t, "packed.npy", npyOf("|O", "False", "(2,)", []byte("pickle"))),
		stored{zip.FileHeader{Name: "more.npy"}, append(npyFile(3), 1, 2)},
	)
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	check(t, ix, int64(len(file)))
	var names []string
	for _, tensor := range ix.Tensors {
		names = append(names, tensor.Name)
	}
	if !slices.Equal(names, []string{"a", "more"}) {
		t.Errorf("the arrays %q", names)
	}
	at := func(name string) int64 { return int64(bytes.Index(file, []byte(name)) + len(name)) }
	want := []tensors.Finding{
		{File: fileName, Offset: at("readme.txt"), Text: `the member "readme.txt" is no array: its name does not end in .npy`},
		{File: fileName, Offset: at("text.npy") + 20, Text: `the member "text.npy": "<U4" is the type of no tensor`},
		{File: fileName, Offset: at("packed.npy"), Text: `the member "packed.npy": at byte 20 of it, inflated: it holds Python objects as a pickle, which is not read`},
		{File: fileName, Offset: at("more.npy") + 131, Text: `the member "more.npy": 2 bytes follow the array`},
	}
	if !reflect.DeepEqual(ix.Findings, want) {
		t.Errorf("%+v\nwant %+v", ix.Findings, want)
	}
}

// TestLocalHeader: a member's own header says what the directory says, or programs
// that read one or the other find different arrays.
func TestLocalHeader(t *testing.T) {
	const at = 30 + 5 + 132 // the second member's own header
	sound := archive(t, array("a.npy", 4), array("b.npy", 4), array("c.npy", 4))
	set := func(off int, v ...byte) []byte {
		file := slices.Clone(sound)
		copy(file[at+off:], v)
		return file
	}
	for name, c := range map[string]struct {
		file []byte
		msg  string
	}{
		"name":        {set(30, 'x'), `the member "b.npy" has another name in its own header`},
		"long name":   {set(26, 6), `the member "b.npy" has another name in its own header`},
		"method":      {set(8, 8), `the member "b.npy": its method is 8 in its own header and 0 in the archive's directory`},
		"encryption":  {set(6, 1), `the member "b.npy": its encryption is 1 in its own header and 0 in the archive's directory`},
		"stored size": {set(18, 131), `the member "b.npy": its stored size is 131 in its own header and 132 in the archive's directory`},
		"size":        {set(22, 0), `the member "b.npy": its size is 0 in its own header and 132 in the archive's directory`},
		"no sizes":    {set(18, 255, 255, 255, 255), `the member "b.npy": its own header has no sizes`},
	} {
		t.Run(name, func(t *testing.T) { parse.Refuses(t, c.file, int64(len(c.file)), at, c.msg) })
	}
	for name, file := range map[string][]byte{"as it was": set(0), "sizes behind": set(6, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)} {
		if ix, err := parse.Look(t, file, int64(len(file))); err != nil || len(ix.Tensors) != 3 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLocalSizes: large sizes, and those that Python always writes so, are in an
// extra field.
func TestLocalSizes(t *testing.T) {
	const none = 1<<32 - 1
	field := func(id uint16, numbers ...uint64) []byte {
		b := binary.LittleEndian.AppendUint16(nil, id)
		b = binary.LittleEndian.AppendUint16(b, uint16(8*len(numbers)))
		for _, n := range numbers {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		return b
	}
	for name, c := range map[string]struct {
		packed, size         uint32
		extra                []byte
		wantPacked, wantSize uint64
		ok                   bool
	}{
		"in the header":   {7, 8, nil, 7, 8, true},
		"both":            {none, none, field(1, 1<<40, 5), 5, 1 << 40, true},
		"behind others":   {none, none, append(field(9, 3), field(1, 6, 5)...), 5, 6, true},
		"one":             {none, 8, field(1, 5), 5, 8, true},
		"the other":       {7, none, field(1, 1<<33), 7, 1 << 33, true},
		"none":            {none, none, nil, 0, 0, false},
		"one of two":      {none, none, field(1, 5), 0, 0, false},
		"only others":     {none, 8, field(2, 5), 0, 0, false},
		"a field too far": {none, 8, field(1, 5)[:11], 0, 0, false},
		"three bytes":     {none, 8, []byte{1, 0, 8}, 0, 0, false},
	} {
		b := make([]byte, localSize)
		binary.LittleEndian.PutUint32(b[18:], c.packed)
		binary.LittleEndian.PutUint32(b[22:], c.size)
		packed, size, ok := localSizes(b, c.extra)
		if packed != c.wantPacked || size != c.wantSize || ok != c.ok {
			t.Errorf("%s: %d, %d, %v", name, packed, size, ok)
		}
	}
}

// TestRatio: what a member may claim to inflate to.
func TestRatio(t *testing.T) {
	for _, c := range []struct {
		packed, size uint64
		ok           bool
	}{
		{0, 0, true}, {0, 1, false}, {1, 1032, true}, {1, 1033, false}, {1 << 50, 1032 << 50, true}, {1 << 50, 1032<<50 + 1, false},
		{1 << 62, 1<<63 - 1, true}, {1 << 62, 1 << 63, false}, {1, 1<<64 - 1, false},
	} {
		var m member
		err := m.readable(&zip.File{FileHeader: zip.FileHeader{Method: zip.Deflate, CompressedSize64: c.packed, UncompressedSize64: c.size}})
		if (err == nil) != c.ok || err == nil && m.size != int64(c.size) {
			t.Errorf("%d to %d: %v", c.packed, c.size, err)
		}
	}
}
