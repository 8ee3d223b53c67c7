// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

// tensorAt is a tensor of the test's file; at counts from the start of the data.
func tensorAt(name string, d tensors.DType, at, n int64, shape ...int64) tensors.Tensor {
	return tensors.Tensor{Name: name, DType: d, Shape: shape, NBytes: n, File: fileName, Offset: at}
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		data   int
		want   []tensors.Tensor
	}{
		"no tensors":      {`{}`, 0, nil},
		"padded":          {`{}      `, 0, nil},
		"space all over":  {"{ \"a\" :\t{ \"dtype\" : \"U8\" ,\r\n\"shape\" : [ 1 , 2 ] , \"data_offsets\":[ 0 , 2 ]\n} } \n", 2, []tensors.Tensor{tensorAt("a", tensors.U8, 0, 2, 1, 2)}},
		"metadata":        {`{"__metadata__":{"format":"pt","\u00e4":"\""},` + entry("a", "U8", "[1]", 0, 1) + `}`, 1, []tensors.Tensor{tensorAt("a", tensors.U8, 0, 1, 1)}},
		"only metadata":   {`{"__metadata__":{}}`, 0, nil},
		"metadata last":   {`{` + entry("a", "U8", "[1]", 0, 1) + `,"__metadata__":{"a":"b"}}`, 1, []tensors.Tensor{tensorAt("a", tensors.U8, 0, 1, 1)}},
		"scalar":          {`{` + entry("a", "F64", "[]", 0, 8) + `}`, 8, []tensors.Tensor{tensorAt("a", tensors.F64, 0, 8)}},
		"eight dims":      {`{` + entry("a", "I16", "[2,1,2,1,2,1,2,3]", 0, 96) + `}`, 96, []tensors.Tensor{tensorAt("a", tensors.I16, 0, 96, 2, 1, 2, 1, 2, 1, 2, 3)}},
		"a dimension 0":   {`{` + entry("a", "F32", "[4,0,3]", 0, 0) + `}`, 0, []tensors.Tensor{tensorAt("a", tensors.F32, 0, 0, 4, 0, 3)}},
		"0 before huge":   {`{` + entry("a", "F32", "[0,9223372036854775807,9223372036854775807]", 0, 0) + `}`, 0, []tensors.Tensor{tensorAt("a", tensors.F32, 0, 0, 0, math.MaxInt64, math.MaxInt64)}},
		"empty between":   {`{` + entry("b", "U8", "[0]", 2, 2) + `,` + entry("c", "U8", "[1]", 2, 3) + `,` + entry("a", "U8", "[2]", 0, 2) + `}`, 3, []tensors.Tensor{tensorAt("a", tensors.U8, 0, 2, 2), tensorAt("b", tensors.U8, 2, 0, 0), tensorAt("c", tensors.U8, 2, 1, 1)}},
		"empty at both":   {`{` + entry("z", "U8", "[0]", 1, 1) + `,` + entry("b", "U8", "[1]", 0, 1) + `,` + entry("a", "U8", "[0]", 0, 0) + `}`, 1, []tensors.Tensor{tensorAt("a", tensors.U8, 0, 0, 0), tensorAt("b", tensors.U8, 0, 1, 1), tensorAt("z", tensors.U8, 1, 0, 0)}},
		"halves of bytes": {`{` + entry("a", "F4", "[3,2]", 0, 3) + `,` + entry("b", "F6_E3M2", "[4]", 3, 6) + `}`, 6, []tensors.Tensor{tensorAt("a", tensors.F4, 0, 3, 3, 2), tensorAt("b", tensors.F6E3M2, 3, 3, 4)}},
		"unknown fields":  {`{"a":{"x":{"y":[1,-2.5e+10,true,null,{"z":"\u0000"}]},"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":0}}`, 1, []tensors.Tensor{tensorAt("a", tensors.U8, 0, 1, 1)}},
		"names as written": {`{` + entry(`\"\\\/\b\f\n\r\t\u0000\u00e4\ud83d\ude00`, "U8", "[0]", 0, 0) + `,` + entry("", "U8", "[0]", 0, 0) + `,` + entry("../a/.", "U8", "[0]", 0, 0) + `}`, 0, []tensors.Tensor{
			tensorAt("\"\\/\b\f\n\r\t\x00ä😀", tensors.U8, 0, 0, 0), tensorAt("", tensors.U8, 0, 0, 0), tensorAt("../a/.", tensors.U8, 0, 0, 0),
		}},
		"escaped fields": {`{"\u0061":{"d\u0074ype":"U\u0038","sh\u0061pe":[1],"data_offset\u0073":[0,1]}}`, 1, []tensors.Tensor{tensorAt("a", tensors.U8, 0, 1, 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			file := append(framed(c.header), make([]byte, c.data)...)
			ix, err := parse.Look(t, file, int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, int64(len(file)))
			for i := range c.want {
				c.want[i].Offset += int64(prefix + len(c.header))
			}
			sameTensors(t, ix.Tensors, c.want)
		})
	}
}

// sameTensors compares lists; a scalar's shape may be nil.
func sameTensors(t *testing.T, got, want []tensors.Tensor) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d tensors, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if !slices.Equal(g.Shape, w.Shape) {
			t.Errorf("%q has the shape %v, want %v", g.Name, g.Shape, w.Shape)
		}
		g.Shape, w.Shape = nil, nil
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%+v, want %+v", g, w)
		}
	}
}

// dtypes are the format's: the table of interfaces.md, by width in bits.
var dtypes = map[string]int{
	"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
	"F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
	"C64": 64, "F64": 64, "I64": 64, "U64": 64,
}

func TestDTypes(t *testing.T) {
	for name, bits := range dtypes {
		n := 12 * bits / 8
		file := append(framed("{"+entry("a", name, "[3,4]", 0, n)+"}"), make([]byte, n)...)
		ix, err := parse.Look(t, file, int64(len(file)))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := ix.Tensors[0]; got.DType.String() != name || got.NBytes != int64(n) {
			t.Errorf("%s: %s of %d bytes, want %d", name, got.DType, got.NBytes, n)
		}
		for _, wrong := range []int{n - 1, n + 1} {
			file := append(framed("{"+entry("a", name, "[3,4]", 0, wrong)+"}"), make([]byte, wrong)...)
			parse.Refuses(t, file, int64(len(file)), 9, fmt.Sprintf(`the tensor "a" has %d bytes, %s[3 4] needs %d`, wrong, name, n))
		}
	}
	for _, d := range tensors.DTypes() {
		if _, ok := dtypes[d.String()]; ok {
			continue
		}
		file := framed("{" + entry("a", d.String(), "[0]", 0, 0) + "}")
		parse.Refuses(t, file, int64(len(file)), 22, fmt.Sprintf("the dtype %q is unknown", d))
	}
}

// TestMalformed: a mark is the byte that the error names.
func TestMalformed(t *testing.T) {
	tensor := func(fields string) string { return `{"a":{` + fields + `}}` }
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		header string
		data   int
		msg    string
	}{
		"empty header":           {``, 0, "1 bytes are needed, 0 are left"},
		"space first":            {`‸ {}`, 0, `the header begins with ' ' instead of '{'`},
		"byte order mark":        {"‸\ufeff{}", 0, `the header begins with 'ï' instead of '{'`},
		"array":                  {`‸[]`, 0, `the header begins with '[' instead of '{'`},
		"no end":                 {`{‸`, 0, "1 bytes are needed, 0 are left"},
		"text behind":            {`{}  ‸x `, 0, "2 bytes follow the header's JSON"},
		"NUL behind":             {"{}‸\x00", 0, "1 bytes follow the header's JSON"},
		"second object":          {`{}‸{}`, 0, "2 bytes follow the header's JSON"},
		"comma at the end":       {`{` + entry("a", "U8", "[1]", 0, 1) + `,‸}`, 1, `'}' where '"' should be`},
		"comma missing":          {`{` + entry("a", "U8", "[1]", 0, 1) + `‸` + entry("b", "U8", "[1]", 1, 2) + `}`, 2, `'"' where ',' or '}' should be`},
		"colon missing":          {`{"a"‸{}}`, 0, `'{' where ':' should be`},
		"key is no text":         {`{‸1:{}}`, 0, `'1' where '"' should be`},
		"tensor is no object":    {`{"a":‸[]}`, 0, `'[' where '{' should be`},
		"tensor is null":         {`{"a": ‸null}`, 0, `'n' where '{' should be`},
		"metadata no object":     {`{"__metadata__":‸"x"}`, 0, `'"' where '{' should be`},
		"metadata number":        {`{"__metadata__":{"a":"b","c":‸1}}`, 0, `'1' in __metadata__, where only texts may be`},
		"metadata object":        {`{"__metadata__":{"a":‸{}}}`, 0, `'{' in __metadata__, where only texts may be`},
		"metadata null":          {`{"__metadata__":{"a":‸null}}`, 0, `'n' in __metadata__, where only texts may be`},
		"metadata twice":         {`{"__metadata__":{},‸"__metadata__":{}}`, 0, `__metadata__ is there twice`},
		"tensor twice":           {`{` + entry("a", "U8", "[1]", 0, 1) + `,‸` + entry(`\u0061`, "U8", "[1]", 1, 2) + `}`, 2, `the tensor "a" is there twice`},
		"dtype missing":          {`{‸"a":{"shape":[1],"data_offsets":[0,1]}}`, 1, `the tensor "a" needs dtype, shape and data_offsets`},
		"shape missing":          {`{‸"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1, `the tensor "a" needs dtype, shape and data_offsets`},
		"data_offsets missing":   {`{‸"a":{"dtype":"U8","shape":[1]}}`, 1, `the tensor "a" needs dtype, shape and data_offsets`},
		"case of fields":         {`{‸"a":{"DType":"U8","Shape":[1],"Data_Offsets":[0,1]}}`, 1, `the tensor "a" needs dtype, shape and data_offsets`},
		"dtype twice":            {tensor(`"dtype":"U8",‸"dtype":"U8"`), 1, `a field of the tensor "a" is there twice`},
		"shape twice":            {tensor(`"shape":[1],‸"shape":[1]`), 1, `a field of the tensor "a" is there twice`},
		"data_offsets twice":     {tensor(`"data_offsets":[0,1],‸"data_offsets":[0,1]`), 1, `a field of the tensor "a" is there twice`},
		"dtype unknown":          {tensor(`"dtype": ‸"F31"`), 0, `the dtype "F31" is unknown`},
		"dtype in small":         {tensor(`"dtype":‸"f32"`), 0, `the dtype "f32" is unknown`},
		"dtype empty":            {tensor(`"dtype":‸""`), 0, `the dtype "" is unknown`},
		"dtype long":             {tensor(`"dtype":‸"` + long + `"`), 0, `the dtype "` + long[:40] + `" is unknown`},
		"dtype no text":          {tensor(`"dtype":‸8`), 0, `'8' where '"' should be`},
		"shape no array":         {tensor(`"shape":‸3`), 0, `'3' where '[' should be`},
		"shape negative":         {tensor(`"shape":[1,‸-1]`), 0, `'-' where a whole number from 0 on should be`},
		"shape float":            {tensor(`"shape":[‸1.0]`), 0, `no whole number`},
		"shape exponent":         {tensor(`"shape":[‸1e3]`), 0, `no whole number`},
		"shape leading 0":        {tensor(`"shape":[‸01]`), 0, `no whole number`},
		"shape text":             {tensor(`"shape":[‸"1"]`), 0, `'"' where a whole number from 0 on should be`},
		"shape nested":           {tensor(`"shape":[‸[1]]`), 0, `'[' where a whole number from 0 on should be`},
		"shape no number":        {tensor(`"shape":[1,‸]`), 0, `']' where a whole number from 0 on should be`},
		"shape no comma":         {tensor(`"shape":[1 ‸2]`), 0, `'2' where ',' or ']' should be`},
		"shape 2^63":             {tensor(`"shape":[‸9223372036854775808]`), 0, `a number over 63 bits`},
		"shape of 100 digits":    {tensor(`"shape":[‸` + strings.Repeat("9", 100) + `]`), 0, `a number over 63 bits`},
		"shape product":          {`{‸` + entry("a", "U8", "[4294967296,2147483648]", 0, 1) + `}`, 1, `the tensor "a": [4294967296 2147483648] has over 63 bits of elements: shape does not fit its dtype`},
		"shape product to 0":     {`{‸` + entry("a", "U8", "[4294967296,4294967296,0]", 0, 0) + `}`, 0, `the tensor "a": [4294967296 4294967296 0] has over 63 bits of elements: shape does not fit its dtype`},
		"shape product mod 2^64": {`{‸` + entry("a", "U8", "[4294967297,4294967295,2]", 0, 0) + `}`, 0, `the tensor "a": [4294967297 4294967295 2] has over 63 bits of elements: shape does not fit its dtype`},
		"shape bytes":            {`{‸` + entry("a", "F64", "[4611686018427387904]", 0, 0) + `}`, 0, `the tensor "a": [4611686018427387904] of F64 is over 63 bits of bytes: shape does not fit its dtype`},
		"half a byte":            {`{‸` + entry("a", "F4", "[3]", 0, 2) + `}`, 2, `the tensor "a": [3] is no whole number of F4 blocks of 2: shape does not fit its dtype`},
		"two bits over":          {`{‸` + entry("a", "F6_E2M3", "[3]", 0, 3) + `}`, 3, `the tensor "a": [3] is no whole number of F6_E2M3 blocks of 4: shape does not fit its dtype`},
		"offsets no array":       {tensor(`"data_offsets":‸{}`), 0, `'{' where '[' should be`},
		"no offsets":             {tensor(`"data_offsets":‸[]`), 0, `0 data_offsets instead of two`},
		"one offset":             {tensor(`"data_offsets":‸[0]`), 0, `1 data_offsets instead of two`},
		"three offsets":          {tensor(`"data_offsets":[0,1,2‸]`), 0, `more than two data_offsets`},
		"offsets backwards":      {tensor(`"data_offsets":‸[8,4]`), 8, `data_offsets end at 4, before they begin at 8`},
		"offset negative":        {tensor(`"data_offsets":[‸-8,0]`), 8, `'-' where a whole number from 0 on should be`},
		"offset 2^63-1":          {tensor(`"data_offsets":‸[0,9223372036854775807]`), 8, `data_offsets end at 9223372036854775807, beyond any file`},
		"offset 2^64":            {tensor(`"data_offsets":[0,‸18446744073709551616]`), 8, `a number over 63 bits`},
		"size too small":         {`{‸` + entry("a", "F32", "[2]", 0, 4) + `}`, 4, `the tensor "a" has 4 bytes, F32[2] needs 8`},
		"size too large":         {`{‸` + entry("a", "F32", "[2]", 0, 12) + `}`, 12, `the tensor "a" has 12 bytes, F32[2] needs 8`},
		"hole at 0":              {`{‸` + entry("a", "U8", "[4]", 4, 8) + `}`, 8, `the tensor "a" begins at byte DATA+4, the one before it ends at DATA+0`},
		"hole":                   {`{` + entry("a", "U8", "[4]", 0, 4) + `,‸` + entry("b", "U8", "[4]", 6, 10) + `}`, 10, `the tensor "b" begins at byte DATA+6, the one before it ends at DATA+4`},
		"overlap":                {`{‸` + entry("b", "U8", "[4]", 2, 6) + `,` + entry("a", "U8", "[4]", 0, 4) + `}`, 6, `the tensor "b" begins at byte DATA+2, the one before it ends at DATA+4`},
		"the same bytes":         {`{` + entry("a", "U8", "[4]", 0, 4) + `,‸` + entry("b", "U8", "[4]", 0, 4) + `}`, 4, `the tensor "b" begins at byte DATA+0, the one before it ends at DATA+4`},
		"empty amid another":     {`{` + entry("a", "U8", "[4]", 0, 4) + `,‸` + entry("b", "U8", "[0]", 2, 2) + `}`, 4, `the tensor "b" begins at byte DATA+2, the one before it ends at DATA+4`},
		"empty past the end":     {`{` + entry("a", "U8", "[4]", 0, 4) + `,‸` + entry("b", "U8", "[0]", 5, 5) + `}`, 4, `the tensor "b" begins at byte DATA+5, the one before it ends at DATA+4`},
		"long name":              {`{‸` + entry(long, "U8", "[1]", 1, 2) + `}`, 2, `the tensor "` + long[:100] + `" begins at byte DATA+1, the one before it ends at DATA+0`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.header == "" {
				c.header = "‸"
			}
			header, at := place(t, c.header)
			file := append(framed(header), make([]byte, c.data)...)
			for i := range 10 {
				c.msg = strings.ReplaceAll(c.msg, fmt.Sprintf("DATA+%d", i), fmt.Sprint(prefix+len(header)+i))
			}
			parse.Refuses(t, file, int64(len(file)), prefix+at, c.msg)
		})
	}
}

// TestFrame: what is wrong with the length, and with the end of the data.
func TestFrame(t *testing.T) {
	length := func(n uint64, rest string) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), rest...) }
	one := framed("{" + entry("a", "U8", "[4]", 0, 4) + "}")
	n := int64(len(one))
	for name, c := range map[string]struct {
		file []byte
		size int64
		at   int64
		msg  string
	}{
		"empty file":       {nil, 0, 0, "8 bytes are needed, 0 are left"},
		"seven bytes":      {make([]byte, 7), 7, 0, "8 bytes are needed, 7 are left"},
		"only a length":    {length(2, ""), 8, 0, "a header of 2 bytes, 0 are left"},
		"longer by one":    {length(3, "{}"), 10, 0, "a header of 3 bytes, 2 are left"},
		"the limit":        {length(MaxHeader, "{}"), 10, 0, "a header of 100000000 bytes, 2 are left"},
		"over the limit":   {length(MaxHeader+1, "{}"), 1 << 40, 0, "a header of 100000001 bytes, over the limit of 100000000"},
		"2^63 - 1":         {length(math.MaxInt64, "{}"), math.MaxInt64, 0, "a header of 9223372036854775807 bytes, over the limit of 100000000"},
		"2^63":             {length(1<<63, "{}"), 10, 0, "a header of 9223372036854775808 bytes, over the limit of 100000000"},
		"2^64 - 8":         {length(math.MaxUint64-7, "{}"), 10, 0, "a header of 18446744073709551608 bytes, over the limit of 100000000"},
		"2^64 - 1":         {length(math.MaxUint64, "{}"), 10, 0, "a header of 18446744073709551615 bytes, over the limit of 100000000"},
		"a byte missing":   {append(slices.Clone(one), 1, 2, 3), n + 3, n + 3, fmt.Sprintf("the file ends here, its tensors at %d", n+4)},
		"no data":          {one, n, n, fmt.Sprintf("the file ends here, its tensors at %d", n+4)},
		"a byte too many":  {append(slices.Clone(one), 1, 2, 3, 4, 5), n + 5, n + 4, "1 bytes follow the last tensor"},
		"data of nothing":  {append(framed("{}"), 0), 11, 10, "1 bytes follow the last tensor"},
		"a terabyte of it": {one, n + 1<<40, n + 4, fmt.Sprintf("%d bytes follow the last tensor", 1<<40-4)},
	} {
		t.Run(name, func(t *testing.T) { parse.Refuses(t, c.file, c.size, c.at, c.msg) })
	}
}

// TestLargeFile: the data are not read.
func TestLargeFile(t *testing.T) {
	const n = 1 << 61
	file := framed("{" + entry("a", "F32", fmt.Sprintf("[%d]", n/4), 0, n) + "}")
	size := int64(len(file)) + n
	ix, err := parse.Look(t, file, size)
	if err != nil {
		t.Fatal(err)
	}
	check(t, ix, size)
}

// sound is a small file with a bit of everything.
func sound() []byte {
	header := `{"__metadata__":{"format":"pt"},` + entry("a", "F32", "[2,3]", 0, 24) + `,` + entry("ä/b", "BF16", "[]", 24, 26) + `,` +
		entry("c", "U8", "[0,7]", 26, 26) + `,"d":{"x":[{"y":null}],"dtype":"F4","shape":[6],"data_offsets":[26,29]}}  `
	return append(framed(header), make([]byte, 29)...)
}

func TestCut(t *testing.T) {
	file := sound()
	parse.Cut(t, file, len(file)-29)
}

func TestFlippedBits(t *testing.T) {
	file := sound()
	parse.Flip(t, file, len(file)-29, func(ix *tensors.Index) { check(t, ix, int64(len(file))) })
}

func TestFailingReads(t *testing.T) {
	for _, step := range []int{8, 9, 13, 64 << 10} {
		parse.Fail(t, sound(), step)
	}
}

// TestMemory: what a header says costs nothing, only what it has.
func TestMemory(t *testing.T) {
	const space = 1 << 20
	header := "{" + strings.Repeat(" ", space) + `"__metadata__":{"a":"` + strings.Repeat("ä", space/2) + `"},"b":{"c":` + strings.Repeat("7", 300) +
		`,"d":"` + strings.Repeat(`\n`, space/2) + `","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`
	file := append(framed(header), 0)
	r := bytes.NewReader(file)
	var err error
	n := hostile.Allocated(hostile.Fixed, func() { _, err = parse(r, int64(len(file))) })
	if err != nil || n > hostile.Fixed {
		t.Errorf("a header of %d bytes that says little took %d: %v", len(header), n, err)
	}
	for name, header := range map[string]string{
		"names":  `{"` + strings.Repeat("x", 2<<20) + `":{}}`,
		"dtypes": `{"a":{"dtype":"` + strings.Repeat("x", 2<<20) + `"}}`,
	} {
		file := framed(header)
		n := hostile.Allocated(8*maxName, func() { _, err = parse(bytes.NewReader(file), int64(len(file))) })
		if err == nil || n > 8*maxName {
			t.Errorf("%s of 2 MiB took %d: %v", name, n, err)
		}
	}
}
