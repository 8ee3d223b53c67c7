// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "folder/arrays.npz"

var parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
	return Parse(fileName, r, size)
}

// stored is one file of an archive.
type stored struct {
	zip.FileHeader
	content []byte
}

// array is a member with an array of n bytes, as numpy.savez writes it.
func array(name string, n int) stored {
	return stored{zip.FileHeader{Name: name}, npyFile(n)}
}

func npyFile(n int) []byte { return npyOf("|u1", "False", fmt.Sprintf("(%d,)", n), make([]byte, n)) }

// npyOf is an NPY file with a header of 128 bytes.
func npyOf(descr, fortran, shape string, data []byte) []byte {
	text := fmt.Sprintf("%-117s\n", fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, fortran, shape))
	b := binary.LittleEndian.AppendUint16([]byte("\x93NUMPY\x01\x00"), uint16(len(text)))
	return append(append(b, text...), data...)
}

// deflated is a member with compressed content, as numpy.savez_compressed writes it.
func deflated(t testing.TB, name string, plain []byte) stored {
	t.Helper()
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, 9)
	if err == nil {
		_, err = z.Write(plain)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stored{zip.FileHeader{Name: name, Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(plain), UncompressedSize64: uint64(len(plain))}, b.Bytes()}
}

// archive writes members as they are: sizes and method are those of the header, or
// the content's.
func archive(t testing.TB, members ...stored) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		h := m.FileHeader
		if h.CRC32 == 0 {
			h.CRC32 = crc32.ChecksumIEEE(m.content)
		}
		if h.UncompressedSize64 == 0 {
			h.UncompressedSize64 = uint64(len(m.content))
		}
		if h.CompressedSize64 == 0 {
			h.CompressedSize64 = uint64(len(m.content))
		}
		w, err := z.CreateRaw(&h)
		if err == nil {
			_, err = w.Write(m.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// check holds for whatever is taken: the arrays lie in the file, and have distinct
// names.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	names := make(map[string]bool)
	for _, t := range ix.Tensors {
		if names[t.Name] || t.File != fileName {
			tb.Errorf("%q of %q is there twice, or in another file", t.Name, t.File)
		}
		names[t.Name] = true
		n, err := t.DType.NBytes(t.Shape)
		switch _, made := t.Maker.(member); {
		case made && err == nil && n == t.NBytes && t.Offset == 0 && t.Strides == nil && n <= maxRatio*size:
		case t.Maker != nil && !made && err == nil && n == t.NBytes && t.Offset == 0 && n < size: // big-endian
		case t.Maker != nil || err != nil || n != t.NBytes || t.Offset < 40 || n > size-t.Offset:
			tb.Errorf("%+v, want %d bytes (%v) of %d", t, n, err, size)
		}
	}
}

func TestParse(t *testing.T) {
	f32 := slices.Concat([]byte("\x93NUMPY\x02\x00\x3e\x00\x00\x00"), fmt.Appendf(nil, "%-62s", "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }"), make([]byte, 24))
	for name, c := range map[string]struct {
		members []stored
		before  int // bytes before the archive
	}{
		"nothing":         {nil, 0},
		"one":             {[]stored{array("a.npy", 4)}, 0},
		"more":            {[]stored{array("z.npy", 4), array("a/b.npy", 0), array("../x.npy", 9), array(".npy", 1), array("ä.npy", 1)}, 0},
		"Fortran":         {[]stored{{zip.FileHeader{Name: "f.npy"}, f32}}, 0},
		"sizes behind":    {[]stored{{zip.FileHeader{Name: "a.npy", Flags: 8}, npyFile(3)}}, 0},
		"bytes before it": {[]stored{array("a.npy", 4), array("b.npy", 4)}, 100},
		"extra fields":    {[]stored{{zip.FileHeader{Name: "a.npy", Extra: []byte{1, 2, 2, 0, 9, 9}, Comment: "x"}, npyFile(3)}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			file := append(make([]byte, c.before), archive(t, c.members...)...)
			size := int64(len(file))
			ix, err := parse.Look(t, file, size)
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, size)
			if len(ix.Tensors) != len(c.members) {
				t.Fatalf("%d tensors, want %d", len(ix.Tensors), len(c.members))
			}
			at := 0
			for i, m := range c.members {
				got := ix.Tensors[i]
				begin := at + bytes.Index(file[at:], m.content)
				end := begin + len(m.content)
				if got.Name != strings.TrimSuffix(m.Name, ".npy") || got.Offset < int64(begin+10) || got.Offset+got.NBytes > int64(end) {
					t.Errorf("%+v, want %s in %d to %d", got, m.Name, begin, end)
				}
				if (got.Strides != nil) != (name == "Fortran") {
					t.Errorf("the strides %v", got.Strides)
				}
				at = end
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	const body = 30 + 5 // a local header and its name, a.npy
	one := func(h zip.FileHeader, content []byte) []byte {
		h.Name = "a.npy"
		return archive(t, stored{h, content})
	}
	sound := npyFile(4)
	objects := bytes.Replace(npyFile(4), []byte("|u1"), []byte("|O'"), 1)
	long := strings.Repeat("x", 5000) + ".txt"
	for name, c := range map[string]struct {
		file []byte
		at   int64
		msg  string
	}{
		"a folder":        {archive(t, stored{FileHeader: zip.FileHeader{Name: "a.npy/"}}), 36, `no array is a tensor: the member "a.npy/" is no array: its name does not end in .npy`},
		"a long name":     {archive(t, array(long, 1)), int64(30 + len(long)), `no array is a tensor: the member "` + long[:100] + `" is no array: its name does not end in .npy`},
		"another method":  {one(zip.FileHeader{Method: 99}, sound), body, `the member "a.npy" is compressed by method 99; 0 (stored) and 8 (deflated) are read`},
		"encrypted":       {one(zip.FileHeader{Flags: 1}, sound), body, `the member "a.npy" is encrypted`},
		"two sizes":       {one(zip.FileHeader{UncompressedSize64: 1000}, sound), body, `the member "a.npy" is stored in 132 bytes and has 1000`},
		"past the end":    {one(zip.FileHeader{UncompressedSize64: 1000, CompressedSize64: 1000}, sound), body, `the member "a.npy" has 1000 bytes, LEFT are left`},
		"2^63 bytes":      {one(zip.FileHeader{UncompressedSize64: 1 << 63, CompressedSize64: 1 << 63}, sound), body, `the member "a.npy" has 9223372036854775808 bytes, LEFT are left`},
		"twice":           {archive(t, array("a.npy", 1), array("a.npy", 1)), 2*body + 129, `the array "a" is there twice`},
		"no NPY":          {one(zip.FileHeader{}, []byte("0123456789")), body, `the member "a.npy": it does not begin as NPY does`},
		"empty":           {one(zip.FileHeader{}, nil), body, `the member "a.npy": a length of 8, 0 bytes are left`},
		"cut off":         {one(zip.FileHeader{}, sound[:131]), body + 128, `the member "a.npy": U8[4] needs 4 bytes, 3 are left`},
		"a header's text": {one(zip.FileHeader{}, objects), body + 10 + 10, `no array is a tensor: the member "a.npy": it holds Python objects as a pickle, which is not read`},
	} {
		t.Run(name, func(t *testing.T) {
			size := int64(len(c.file))
			parse.Refuses(t, c.file, size, c.at, strings.Replace(c.msg, "LEFT", fmt.Sprint(size-c.at), 1))
		})
	}
}

// zip64 is the directory of an archive with one member whose local header is said
// to lie at a byte.
func zip64(at uint64) []byte {
	entry := append([]byte("PK\x01\x02"), make([]byte, 42)...)
	binary.LittleEndian.PutUint16(entry[28:], 5)
	binary.LittleEndian.PutUint16(entry[30:], 12)
	binary.LittleEndian.PutUint32(entry[42:], math.MaxUint32)
	entry = append(entry, "a.npy\x01\x00\x08\x00"...)
	entry = binary.LittleEndian.AppendUint64(entry, at)
	return append(entry, directoryEnd(1, len(entry), 0)...)
}

// directoryEnd is what an archive ends with.
func directoryEnd(members uint16, size, at int) []byte {
	b := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	binary.LittleEndian.PutUint16(b[8:], members)
	binary.LittleEndian.PutUint16(b[10:], members)
	binary.LittleEndian.PutUint32(b[12:], uint32(size))
	binary.LittleEndian.PutUint32(b[16:], uint32(at))
	return b
}

// TestNoArchive: the error is about the content even where the directory leads out
// of the file, and names a byte in it.
func TestNoArchive(t *testing.T) {
	sound := archive(t, array("a.npy", 4))
	local := func(name, extra uint16) []byte { // the local header alone, at the file's end
		b := zip64(0)
		at := len(b) - 22
		binary.LittleEndian.PutUint64(b[at-8:], uint64(len(b)))
		binary.LittleEndian.PutUint16(b[len(b)-2:], 30)
		header := append([]byte("PK\x03\x04"), make([]byte, 26)...)
		binary.LittleEndian.PutUint16(header[26:], name)
		binary.LittleEndian.PutUint16(header[28:], extra)
		return append(append(b, header...), "a.npy"[:min(name, 5)]...)
	}
	entry := append([]byte("PK\x01\x02"), make([]byte, 42)...)
	for i := 28; i < 34; i++ {
		entry[i] = 0xff // lengths of name, extra field and comment
	}
	locator := append([]byte("PK\x06\x07"), make([]byte, 16)...)
	binary.LittleEndian.PutUint64(locator[8:], 1<<63)
	locator[16] = 1
	end64 := append(locator, directoryEnd(math.MaxUint16, 0, 0)...)
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":                      {nil, `no directory of a zip archive: `},
		"zeros":                      {make([]byte, 100), `no directory of a zip archive: `},
		"an array":                   {npyFile(40), `no directory of a zip archive: `},
		"no directory":               {sound[:len(sound)-22], `no directory of a zip archive: `},
		"two members":                {append(slices.Clone(sound[:len(sound)-22]), directoryEnd(2, 46+5, 30+5+132)...), `no directory of a zip archive: `},
		"65534 members":              {directoryEnd(math.MaxUint16-1, 0, 0), `no directory of a zip archive: `},
		"directory of 4 GiB":         {directoryEnd(1, math.MaxUint32-1, 0), `no directory of a zip archive: `},
		"directory past the end":     {directoryEnd(1, 0, math.MaxUint32-1), `no directory of a zip archive: `},
		"long entry":                 {append(append(make([]byte, 54), entry...), directoryEnd(1, 46, 54)...), `no directory of a zip archive: `},
		"long entry, at another":     {append(append(slices.Clone(entry), entry...), directoryEnd(1, 46, 0)...), `no directory of a zip archive: `},
		"member at 2^32":             {zip64(1 << 32), `the member "a.npy": `},
		"member at 2^63 - 1":         {zip64(math.MaxInt64), `the member "a.npy": `},
		"member at -1":               {zip64(math.MaxUint64), `the member "a.npy": `},
		"member at -2^63":            {zip64(1 << 63), `the member "a.npy": `},
		"directory's end at -2^63":   {end64, `no directory of a zip archive: `},
		"member begins at the end":   {local(5, 0), `the member "a.npy": a length of 8, 0 bytes are left`},
		"member begins past the end": {local(9, 65535), `the member "a.npy" begins at byte 65659, the file ends here`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse.Look(t, c.file, int64(len(c.file)))
			var w *malformed.Error
			if !errors.As(err, &w) || !strings.HasPrefix(w.Msg, c.says) {
				t.Errorf("%v, want %s…", err, c.says)
			}
		})
	}
}

// TestOverlap: many members at one place would cost as much as many members.
func TestOverlap(t *testing.T) {
	const at = 30 + 5
	content := npyFile(50_000)
	local := append([]byte("PK\x03\x04"), make([]byte, 26)...)
	binary.LittleEndian.PutUint32(local[18:], uint32(len(content)))
	binary.LittleEndian.PutUint32(local[22:], uint32(len(content)))
	binary.LittleEndian.PutUint16(local[26:], 5)
	overlapping := func(n int) []byte {
		file := slices.Concat(local, []byte("a.npy"), content)
		begin := len(file)
		for range n {
			entry := append([]byte("PK\x01\x02"), make([]byte, 42)...)
			binary.LittleEndian.PutUint32(entry[20:], uint32(len(content)))
			binary.LittleEndian.PutUint32(entry[24:], uint32(len(content)))
			binary.LittleEndian.PutUint16(entry[28:], 5)
			file = append(append(file, entry...), "a.npy"...)
		}
		return append(file, directoryEnd(uint16(n), len(file)-begin, begin)...)
	}
	file := overlapping(1)
	if _, err := parse.Look(t, file, int64(len(file))); err != nil {
		t.Fatal(err)
	}
	file = overlapping(2)
	parse.Refuses(t, file, int64(len(file)), at, `the member "a.npy" lies where others do: together they are larger than the file`)
}

func sound(t testing.TB) []byte { return archive(t, array("a.npy", 40), array("b/c.npy", 0)) }

func TestDamaged(t *testing.T) {
	file := sound(t)
	parse.Cut(t, file, 0)
	parse.Flip(t, file, len(file), func(ix *tensors.Index) { check(t, ix, int64(len(file))) })
	parse.Fail(t, file, len(file))
}

// TestManyMembers: what an archive takes grows with its size.
func TestManyMembers(t *testing.T) {
	var members []stored
	for i := range 2000 {
		members = append(members, array(fmt.Sprintf("a%d.npy", i), 0))
	}
	file := archive(t, members...)
	ix, err := parse(bytes.NewReader(file), int64(len(file)))
	if err != nil || len(ix.Tensors) != 2000 {
		t.Fatal(err)
	}
	check(t, ix, int64(len(file)))
}

// TestLimits: a directory that is too long is not read to its end.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		n   int
		msg string
	}{
		{maxMembers + 1, fmt.Sprintf("%d members, over the limit of %d", maxMembers+1, maxMembers)},
		{maxDirectory/46 + 1, fmt.Sprintf("the archive's directory has over %d bytes", maxDirectory)},
	} {
		file := make([]byte, 46*c.n)
		for i := range c.n {
			copy(file[46*i:], "PK\x01\x02")
		}
		file = append(file, directoryEnd(uint16(c.n), len(file), 0)...)
		_, err := parse(bytes.NewReader(file), int64(len(file)))
		var w *malformed.Error
		if !errors.As(err, &w) || w.Msg != c.msg {
			t.Errorf("%v, want %s", err, c.msg)
		}
	}
}
