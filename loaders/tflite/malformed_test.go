// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/malformed"
)

func TestMalformed(t *testing.T) {
	base := write(3, few(8), graph{"", []entry{{name: "a", buffer: 8, shape: []int32{2, 1}}}})
	if _, err := parse.Look(t, base, int64(len(base))); err != nil {
		t.Fatal(err)
	}
	one := func(e entry, more ...buffer) []byte { return write(3, append(few(8), more...), graph{"", []entry{e}}) }
	root := int(binary.LittleEndian.Uint32(base))
	vtable := root - int(int32(binary.LittleEndian.Uint32(base[root:])))
	subgraphsAt := root + int(binary.LittleEndian.Uint16(base[vtable+4+2*modelSubgraphs:]))
	subgraphs := subgraphsAt + int(binary.LittleEndian.Uint32(base[subgraphsAt:]))
	u16 := func(at int, v uint16) []byte {
		out := bytes.Clone(base)
		binary.LittleEndian.PutUint16(out[at:], v)
		return out
	}
	size := len(base)
	for name, c := range map[string]struct {
		file []byte
		at   int // below 0: any
		msg  string
	}{
		"empty":           {nil, 0, "it is no TFLite model: it has 0 bytes"},
		"7 bytes":         {base[:7], 0, "it is no TFLite model: it has 7 bytes"},
		"text":            {[]byte("version https://git-lfs"), 4, `it is no TFLite model: there is "ion " instead of TFL3`},
		"TFL2":            {append(append(bytes.Clone(base[:4]), "TFL2"...), base[8:]...), 4, `it is no TFLite model: there is "TFL2" instead of TFL3`},
		"8 bytes":         {base[:8], 0, fmt.Sprintf("an offset of %d, 8 bytes are left", root)},
		"root 0":          {put(base, 0, 0), 0, fmt.Sprintf("an offset of 0, %d bytes are left", size)},
		"root at the end": {put(base, 0, uint32(size-3)), 0, fmt.Sprintf("an offset of %d, %d bytes are left", size-3, size)},
		"root -1":         {put(base, 0, math.MaxUint32), 0, fmt.Sprintf("an offset of 4294967295, %d bytes are left", size)},
		"version 2":       {write(2, few(1)), -1, "version 2; 3 is read"},
		"no version":      {write(0, few(1)), -1, "version 0; 3 is read"},

		"vtable before":     {put(base, root, uint32(root+1)), 0, "4 bytes are needed, LEFT are left"},
		"vtable behind":     {put(base, root, uint32(-size&math.MaxUint32)), size, "4 bytes are needed, 0 are left"},
		"vtable of 2":       {u16(vtable, 2), vtable, fmt.Sprintf("a vtable of 2 bytes, %d are left", size-vtable)},
		"vtable of 3":       {u16(vtable, 3), vtable, fmt.Sprintf("a vtable of 3 bytes, %d are left", size-vtable)},
		"vtable of 5":       {u16(vtable, 5), vtable, fmt.Sprintf("a vtable of 5 bytes, %d are left", size-vtable)},
		"vtable of 64 KiB":  {u16(vtable, 65534), vtable, fmt.Sprintf("a vtable of 65534 bytes, %d are left", size-vtable)},
		"table of 3":        {u16(vtable+2, 3), vtable, fmt.Sprintf("a table of 3 bytes at byte %d, %d are left there", root, size-root)},
		"table of 64 KiB":   {u16(vtable+2, 65535), vtable, fmt.Sprintf("a table of 65535 bytes at byte %d, %d are left there", root, size-root)},
		"field in a vtable": {u16(vtable+4, 3), vtable + 4, fmt.Sprintf("the field 0 lies at byte 3 of a table of %d", binary.LittleEndian.Uint16(base[vtable+2:]))},
		"field past":        {u16(vtable+4, 999), vtable + 4, fmt.Sprintf("the field 0 lies at byte 999 of a table of %d", binary.LittleEndian.Uint16(base[vtable+2:]))},

		"vector 2^32":      {put(base, subgraphs, math.MaxUint32), subgraphs, fmt.Sprintf("a vector of 4294967295 elements of 4 bytes, %d bytes are left", size-subgraphs-4)},
		"vector one more":  {put(base, subgraphs, uint32((size-subgraphs-4)/4+1)), subgraphs, fmt.Sprintf("a vector of %d elements of 4 bytes, %d bytes are left", (size-subgraphs-4)/4+1, size-subgraphs-4)},
		"vector's offset":  {put(base, subgraphsAt, uint32(size-subgraphsAt-3)), subgraphsAt, fmt.Sprintf("an offset of %d, %d bytes are left", size-subgraphsAt-3, size-subgraphsAt)},
		"element's offset": {put(base, subgraphs+4, 1<<31), subgraphs + 4, fmt.Sprintf("an offset of 2147483648, %d bytes are left", size-subgraphs-4)},

		"buffer 9 of 9":   {one(entry{name: "a", buffer: 9}), -1, "a tensor has the buffer 9 of 9"},
		"buffer -1":       {one(entry{name: "a", buffer: math.MaxUint32}), -1, "a tensor has the buffer 4294967295 of 9"},
		"no buffers":      {write(3, nil, graph{"", []entry{{name: "a"}}}), -1, "a tensor has the buffer 0 of 0"},
		"too short":       {one(entry{name: "a", buffer: 8, shape: []int32{3}}), -1, `the tensor "a" has 8 bytes, F32[3] needs 12`},
		"too long":        {one(entry{name: "a", buffer: 8}), -1, `the tensor "a" has 8 bytes, F32[] needs 4`},
		"none needed":     {one(entry{name: "a", buffer: 8, shape: []int32{0, 5}}), -1, `the tensor "a" has 8 bytes, F32[0 5] needs 0`},
		"dimension -1":    {one(entry{name: "a", buffer: 8, shape: []int32{-1, 2}}), -1, `a constant tensor has a dimension of -1`},
		"65 dimensions":   {one(entry{name: "a", buffer: 4, shape: bytesOf(1, 65)}), -1, `a tensor has 65 dimensions, over the limit of 64`},
		"2^64 elements":   {one(entry{name: "a", buffer: 8, shape: []int32{1 << 30, 1 << 30, 1 << 30}}), -1, `the tensor "a": [1073741824 1073741824 1073741824] has over 63 bits of elements: shape does not fit its dtype`},
		"2^63 bytes":      {one(entry{name: "a", dtype: 4, buffer: 8, shape: []int32{1 << 30, 1 << 30}}), -1, `the tensor "a": [1073741824 1073741824] of I64 is over 63 bits of bytes: shape does not fit its dtype`},
		"long name":       {one(entry{name: strings.Repeat("x", maxName+1), buffer: 8}), -1, "a length of 65537 is over the limit of 65536"},
		"two places":      {one(entry{name: "a", buffer: 9}, buffer{data: []byte{1}, offset: 8, size: 1}), -1, "the buffer 9 has data in two places"},
		"behind the end":  {one(entry{name: "a", buffer: 9}, buffer{offset: 1000, size: 1 << 20}), -1, "the buffer 9 of 1048576 bytes begins at byte 1000, the file ends at SIZE"},
		"offset past it":  {one(entry{name: "a", buffer: 9}, buffer{offset: 1 << 63}), -1, "the buffer 9 of 0 bytes begins at byte 9223372036854775808, the file ends at SIZE"},
		"offset and size": {one(entry{name: "a", buffer: 9}, buffer{offset: 2, size: math.MaxUint64}), -1, "the buffer 9 of 18446744073709551615 bytes begins at byte 2, the file ends at SIZE"},
	} {
		t.Run(name, func(t *testing.T) {
			size := int64(len(c.file))
			_, err := parse.Look(t, c.file, size)
			var w *malformed.Error
			want := strings.ReplaceAll(strings.ReplaceAll(c.msg, "SIZE", fmt.Sprint(size)), "LEFT", fmt.Sprint(max(0, size)))
			if !errors.As(err, &w) || w.Msg != want || c.at >= 0 && w.Offset != int64(c.at) {
				t.Errorf("%v\nwant at byte %d: %s", err, c.at, want)
			}
		})
	}
}

func bytesOf(v int32, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// TestShared: what many tensors share costs little, or is refused, as is what is
// made of overlapping parts.
func TestShared(t *testing.T) {
	many := func(n int, e entry) []entry {
		var out []entry
		for range n {
			out = append(out, e)
		}
		return out
	}
	long := entry{name: strings.Repeat("n", 50_000), buffer: 8, shape: []int32{2}}
	file := write(3, few(8), graph{"", many(5000, long)}, graph{"x", many(5000, long)})
	if _, err := parse.Look(t, file, int64(len(file))); err == nil || !strings.Contains(err.Error(), "together they are larger than the file") {
		t.Error(err)
	}
	short := entry{name: "weight", buffer: 8, shape: []int32{1, 1, 1, 2}}
	file = write(3, few(8), graph{"", many(5000, short)}, graph{"decode", many(5000, short)})
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil || len(ix.Tensors) != 10_000 {
		t.Fatal(err)
	}
	check(t, ix, int64(len(file)))

	for name, c := range map[string]struct {
		n, step int // tensors, and the bytes from one to the next
		field   int // a field that all have, of what lies behind them
		apart   int // the bytes from one's to the next one's
		behind  func(i int) int
		fits    bool
	}{
		"distinct":          {1000, 12, -1, 0, nil, true},
		"one tensor":        {40_000, 0, -1, 0, nil, false},
		"overlapping names": {1000, 12, tensorName, 4, func(int) int { return 256 }, false},
		"short names":       {1000, 12, tensorName, 4, func(int) int { return 4 }, true},
		"one name":          {1000, 12, tensorName, 0, func(int) int { return 256 }, true},
		"one shape":         {1000, 12, tensorShape, 0, func(i int) int { return max(1, 60-60*i) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			file := byHand(c.n, c.step, c.field, c.apart, c.behind)
			ix, err := parse.Look(t, file, int64(len(file)))
			if (err == nil) != c.fits || err != nil && !strings.Contains(err.Error(), "together they are larger than the file") {
				t.Fatal(err)
			}
			if err == nil {
				check(t, ix, int64(len(file)))
			}
		})
	}
}

// byHand is a model with a list of n tensors behind it, whose tables of 12 bytes lie
// step bytes behind each other, each with a field that leads to numbers behind them.
func byHand(n, step, field, apart int, behind func(int) int) []byte {
	file := write(3, few(8), graph{"", []entry{{name: "a", buffer: 4}}})
	for len(file)%4 != 0 {
		file = append(file, 0)
	}
	u32 := func(v int) { file = binary.LittleEndian.AppendUint32(file, uint32(v)) }
	list := tensorsField(file)
	binary.LittleEndian.PutUint32(file[list:], uint32(len(file)-list))
	tables := len(file) + 4 + 4*n + 12
	u32(n)
	for i := range n {
		u32(tables + i*step - len(file))
	}
	vtable := []uint16{12, 12, 0, 0, 4, 0}
	if field >= 0 {
		vtable[2+field] = 8
	}
	for _, v := range vtable {
		file = binary.LittleEndian.AppendUint16(file, v)
	}
	names := tables + n*step + 12
	for len(file) < names {
		switch at := len(file); {
		case (at-tables)%12 == 0:
			u32(at - (tables - 12))
		case (at-tables)%12 == 4:
			u32(4) // the buffer
		default:
			u32(names + (at-tables)/12*apart - at)
		}
	}
	for i := 0; field >= 0 && i < 100+n*apart/4; i++ {
		u32(behind(i))
	}
	return file
}

// tensorsField is where the first subgraph says where its tensors are.
func tensorsField(file []byte) int {
	follow := func(at int) int { return at + int(binary.LittleEndian.Uint32(file[at:])) }
	field := func(table, n int) int {
		vtable := table - int(int32(binary.LittleEndian.Uint32(file[table:])))
		return table + int(binary.LittleEndian.Uint16(file[vtable+4+2*n:]))
	}
	return field(follow(follow(field(follow(0), modelSubgraphs))+4), subgraphTensors)
}

// TestLimit is about how many tensors are looked at, constants or not.
func TestLimit(t *testing.T) {
	file := write(3, few(8), graph{"", make([]entry, maxTensors-1)})
	if ix, err := parse.Look(t, file, int64(len(file))); err != nil || len(ix.Tensors) != 0 {
		t.Error(err)
	}
	file = write(3, few(8), graph{"", make([]entry, maxTensors)})
	if _, err := parse.Look(t, file, int64(len(file))); err == nil || !strings.Contains(err.Error(), "over 131072 tensors and subgraphs") {
		t.Error(err)
	}
}
