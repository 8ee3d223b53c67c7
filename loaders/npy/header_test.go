// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

func TestParse(t *testing.T) {
	ones := strings.Repeat("1,", 63) + "1"
	for name, c := range map[string]struct {
		version byte
		text    string
		data    int
		dtype   tensors.DType
		shape   []int64
		strides []int64
	}{
		"as NumPy writes":    {1, dict("<f4", "False", "(3, 4)") + strings.Repeat(" ", 60) + "\n", 48, tensors.F32, []int64{3, 4}, nil},
		"version 2":          {2, dict("<i8", "False", "(2,)"), 16, tensors.I64, []int64{2}, nil},
		"version 3":          {3, dict("<i8", "False", "(2,)"), 16, tensors.I64, []int64{2}, nil},
		"scalar":             {1, dict("<f8", "False", "()"), 8, tensors.F64, []int64{}, nil},
		"empty":              {1, dict("<f8", "False", "(0,)"), 0, tensors.F64, []int64{0}, nil},
		"0 before huge":      {1, dict("<f8", "True", "(0, 9223372036854775807, 9223372036854775807)"), 0, tensors.F64, []int64{0, 1<<63 - 1, 1<<63 - 1}, nil},
		"eight dimensions":   {1, dict("|u1", "False", "(2,1,2,1,2,1,2,1)"), 16, tensors.U8, []int64{2, 1, 2, 1, 2, 1, 2, 1}, nil},
		"64 dimensions":      {1, dict("|u1", "False", "("+ones+")"), 1, tensors.U8, repeat(1, 64), nil},
		"Fortran":            {1, dict("<f2", "True", "(2, 3, 4)"), 48, tensors.F16, []int64{2, 3, 4}, []int64{1, 2, 6}},
		"Fortran with ones":  {1, dict("<f2", "True", "(2, 1, 4)"), 16, tensors.F16, []int64{2, 1, 4}, []int64{1, 2, 2}},
		"Fortran, a column":  {1, dict("<f2", "True", "(1, 3, 1)"), 6, tensors.F16, []int64{1, 3, 1}, nil},
		"Fortran, one":       {1, dict("<f2", "True", "(3,)"), 6, tensors.F16, []int64{3}, nil},
		"Fortran, a scalar":  {1, dict("<f2", "True", "()"), 2, tensors.F16, []int64{}, nil},
		"Fortran, empty":     {1, dict("<f2", "True", "(2, 0, 3)"), 0, tensors.F16, []int64{2, 0, 3}, nil},
		"other order":        {1, `{"shape":(2,),"fortran_order":False,"descr":"<f4"}`, 8, tensors.F32, []int64{2}, nil},
		"space all over":     {1, " { 'descr' :\t'<f4' ,\r\n'fortran_order': False , 'shape' : ( 2 , 3 , ) , } \n", 24, tensors.F32, []int64{2, 3}, nil},
		"long of Python 2":   {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }", 24, tensors.F32, []int64{2, 3}, nil},
		"native":             {1, dict("=f4", "False", "(2,)"), 8, tensors.F32, []int64{2}, nil},
		"big-endian bytes":   {1, dict(">i1", "False", "(2,)"), 2, tensors.I8, []int64{2}, nil},
		"header of 64 KiB":   {2, fmt.Sprintf("%-65536s", dict("|i1", "False", "(2,)")), 2, tensors.I8, []int64{2}, nil},
		"header of 2^16 - 1": {1, fmt.Sprintf("%-65535s", dict("|i1", "False", "(2,)")), 2, tensors.I8, []int64{2}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			file := append(framed(c.version, c.text), make([]byte, c.data)...)
			size := int64(len(file))
			ix, err := parse.Look(t, file, size)
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, size)
			got := ix.Tensors[0]
			if got.DType != c.dtype || !reflect.DeepEqual(got.Shape, c.shape) || !reflect.DeepEqual(got.Strides, c.strides) || got.Offset != size-int64(c.data) {
				t.Errorf("%+v, want %s%v, strides %v", got, c.dtype, c.shape, c.strides)
			}
		})
	}
}

func repeat(n int64, times int) []int64 {
	s := make([]int64, times)
	for i := range s {
		s[i] = n
	}
	return s
}

// descrs are NumPy's types that tensors have, with their bytes.
var descrs = map[string]struct {
	dtype tensors.DType
	bytes int
}{
	"|b1": {tensors.BOOL, 1}, "|u1": {tensors.U8, 1}, "|i1": {tensors.I8, 1},
	"<u2": {tensors.U16, 2}, "<i2": {tensors.I16, 2}, "<u4": {tensors.U32, 4}, "<i4": {tensors.I32, 4},
	"<u8": {tensors.U64, 8}, "<i8": {tensors.I64, 8},
	"<f2": {tensors.F16, 2}, "<f4": {tensors.F32, 4}, "<f8": {tensors.F64, 8},
	"<c8": {tensors.C64, 8}, "<c16": {tensors.C128, 16},
}

func TestTypes(t *testing.T) {
	for descr, c := range descrs {
		head := framed(1, dict(descr, "False", "(3, 4)"))
		file := append(head, make([]byte, 12*c.bytes)...)
		ix, err := parse.Look(t, file, int64(len(file)))
		if err != nil {
			t.Errorf("%s: %v", descr, err)
			continue
		}
		if got := ix.Tensors[0]; got.DType != c.dtype || got.NBytes != int64(12*c.bytes) || got.DType.NumPy() != descr {
			t.Errorf("%s: %+v", descr, got)
		}
		parse.Refuses(t, file[:len(file)-1], int64(len(file)-1), int64(len(head)),
			fmt.Sprintf("%s[3 4] needs %d bytes, %d are left", c.dtype, 12*c.bytes, 12*c.bytes-1))
		if c.bytes > 1 {
			big := framed(1, dict(">"+descr[1:], "False", "(2,)"))
			file := append(big, make([]byte, 2*c.bytes)...)
			ix, err := parse.Look(t, file, int64(len(file)))
			if err != nil {
				t.Errorf("%s, big-endian: %v", descr, err)
				continue
			}
			check(t, ix, int64(len(file)))
			if got := ix.Tensors[0]; got.DType != c.dtype || got.Maker == nil {
				t.Errorf("%s, big-endian: %+v", descr, got)
			}
			parse.Refuses(t, file[:len(file)-1], int64(len(file)-1), int64(len(big)), fmt.Sprintf("%s[2] needs %d bytes, %d are left", c.dtype, 2*c.bytes, 2*c.bytes-1))
		}
	}
	for descr, msg := range map[string]string{
		"|O": "it holds Python objects as a pickle, which is not read", "|O8": "it holds Python objects as a pickle, which is not read",
		"<V2": `"<V2" is raw bytes: NumPy does not say of which type; save it as safetensors`,
		"|V1": `"|V1" is raw bytes: NumPy does not say of which type; save it as safetensors`,
		"|S5": `"|S5" is the type of no tensor`, "<U5": `"<U5" is the type of no tensor`,
		"<M8[ns]": `"<M8[ns]" is the type of no tensor`, "<m8": `"<m8" is the type of no tensor`,
		"<f16": `"<f16" is the type of no tensor`, "<c32": `"<c32" is the type of no tensor`, "<f": `"<f" is the type of no tensor`,
		"<f40": `"<f40" is the type of no tensor`, "<i3": `"<i3" is the type of no tensor`, "|t4": `"|t4" is the type of no tensor`,
		"f4": `"f4" is no type`, "float32": `"float32" is no type`, "": `"" is no type`, "<": `"<" is no type`, "!f4": `"!f4" is no type`,
		strings.Repeat("V", 300): `"` + strings.Repeat("V", 40) + `" is no type`, "<" + strings.Repeat("V", 300): `"<` + strings.Repeat("V", 39) + `" is raw bytes: NumPy does not say of which type; save it as safetensors`,
		strings.Repeat("<f", 300): `"` + strings.Repeat("<f", 20) + `" is the type of no tensor`,
	} {
		file := framed(1, dict(descr, "False", "(0,)"))
		parse.Refuses(t, file, int64(len(file)), 20, msg)
		_, err := parse(bytes.NewReader(file), int64(len(file)))
		if unfit := (Unfit{}); errors.As(err, &unfit) != !strings.HasSuffix(msg, "is no type") {
			t.Errorf("%s: the error is %T", descr, err)
		}
	}
}

// TestMalformedText: a mark is the byte that the error names.
func TestMalformedText(t *testing.T) {
	field := func(key, value string) string {
		return "{'descr': '<f4', 'fortran_order': False, '" + key + "': " + value + "}"
	}
	shape := func(s string) string { return field("shape", s) }
	for name, c := range map[string]struct {
		text string
		data int
		msg  string
	}{
		"empty":                {`‸`, 0, `'\x00' where '{' should be`},
		"only space":           {"  \n‸", 0, `'\x00' where '{' should be`},
		"a tuple":              {`‸('descr',)`, 0, `'(' where '{' should be`},
		"a call":               {`‸__import__('os').system('true')`, 0, `'_' where '{' should be`},
		"empty dict":           {`{}‸`, 0, "descr, fortran_order or shape is missing"},
		"no end":               {"{'descr': '<f4'‸", 0, `'\x00' where ',' or '}' should be`},
		"descr missing":        {"{'fortran_order': False, 'shape': ()}‸", 4, "descr, fortran_order or shape is missing"},
		"order missing":        {"{'descr': '<f4', 'shape': ()}‸", 4, "descr, fortran_order or shape is missing"},
		"shape missing":        {"{'descr': '<f4', 'fortran_order': False}‸", 4, "descr, fortran_order or shape is missing"},
		"descr twice":          {"{'descr': '<f4', ‸'descr': '<f4'}", 4, `"descr" is there twice`},
		"shape twice":          {shape("(), ‸'shape': ()"), 4, `"shape" is there twice`},
		"order twice":          {shape("(), ‸'fortran_order': True"), 4, `"fortran_order" is there twice`},
		"another field":        {"{‸'x': 1}", 0, `"x" is no field of a header`},
		"long field":           {"{‸'" + strings.Repeat("x", 4000) + "': 1}", 0, `"` + strings.Repeat("x", 40) + `" is no field of a header`},
		"field without quotes": {"{‸descr: 1}", 0, `'d' where a text should be`},
		"no colon":             {"{'descr' ‸'<f4'}", 0, `'\'' where ':' should be`},
		"no comma":             {"{'descr': '<f4' ‸'shape': ()}", 0, `'\'' where ',' or '}' should be`},
		"two commas":           {"{'descr': '<f4',‸, 'shape': ()}", 0, `',' where a text should be`},
		"text behind":          {shape("()") + " ‸x", 4, `'x' follows the header's dict`},
		"NUL behind":           {shape("()") + "‸\x00x", 4, `'\x00' follows the header's dict`},
		"descr no text":        {"{'descr': ‸4}", 0, `'4' where a text should be`},
		"structured":           {"{'descr': ‸[('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': ()}", 8, "a structured array, which is no tensor"},
		"text without end":     {"{'descr': ‸'<f4}", 0, "a text without an end"},
		"quotes mixed":         {"{'descr': ‸'<f4\"}", 0, "a text without an end"},
		"escape":               {`{'descr': ‸'\x3cf4'}`, 0, "an escape in a text"},
		"line in a text":       {"{'descr': ‸'<f\n4'}", 0, "an escape in a text"},
		"order a number":       {"{'fortran_order': ‸1}", 0, "neither True nor False"},
		"order in small":       {"{'fortran_order': ‸true}", 0, "neither True nor False"},
		"order and more":       {"{'fortran_order': True‸ish}", 0, `'i' where ',' or '}' should be`},
		"shape a list":         {shape("‸[3]"), 12, `'[' where '(' should be`},
		"shape a number":       {shape("‸3"), 12, `'3' where '(' should be`},
		"shape negative":       {shape("(2, ‸-1)"), 0, "no size of a dimension"},
		"shape float":          {shape("(2‸.0,)"), 8, `'.' where ',' or ')' should be`},
		"shape text":           {shape("(‸'2',)"), 8, "no size of a dimension"},
		"shape hexadecimal":    {shape("(0‸x2,)"), 8, `'x' where ',' or ')' should be`},
		"shape underscore":     {shape("(1‸_0,)"), 40, `'_' where ',' or ')' should be`},
		"shape comma alone":    {shape("(‸,)"), 4, "no size of a dimension"},
		"shape two commas":     {shape("(1,‸,)"), 4, "no size of a dimension"},
		"shape nested":         {shape("(‸(1,),)"), 4, "no size of a dimension"},
		"shape without end":    {"{'shape': (1,‸", 4, "no size of a dimension"},
		"shape 2^63":           {shape("(‸9223372036854775808,)"), 0, "no size of a dimension"},
		"shape of 1000 digits": {shape("(‸" + strings.Repeat("9", 1000) + ",)"), 0, "no size of a dimension"},
		"65 dimensions":        {shape("(" + strings.Repeat("1,", 64) + "1‸)"), 4, "more than 64 dimensions"},
		"shape product":        {"‸" + shape("(4294967296, 4294967296)"), 0, "[4294967296 4294967296] has over 63 bits of elements: shape does not fit its dtype"},
		"shape product to 0":   {"‸" + shape("(4294967296, 4294967296, 0)"), 0, "[4294967296 4294967296 0] has over 63 bits of elements: shape does not fit its dtype"},
		"shape bytes":          {"‸" + shape("(2305843009213693952,)"), 0, "[2305843009213693952] of F32 is over 63 bits of bytes: shape does not fit its dtype"},
		"no data":              {shape("(2,)") + "‸", 0, "F32[2] needs 8 bytes, 0 are left"},
		"a byte missing":       {shape("(2,)") + "‸", 7, "F32[2] needs 8 bytes, 7 are left"},
		"2^62 bytes":           {shape("(1152921504606846976,)") + "‸", 7, "F32[1152921504606846976] needs 4611686018427387904 bytes, 7 are left"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after, ok := strings.Cut(c.text, "‸")
			if !ok {
				t.Fatal("no mark")
			}
			for version := byte(1); version <= 3; version++ {
				file := framed(version, before+after)
				at := int64(len(file) - len(after))
				file = append(file, make([]byte, c.data)...)
				parse.Refuses(t, file, int64(len(file)), at, c.msg)
			}
		})
	}
}

func TestFrame(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		at   int64
		msg  string
	}{
		"empty":              {"", 0, "a length of 8, 0 bytes are left"},
		"seven bytes":        {"\x93NUMPY\x01", 0, "a length of 8, 7 bytes are left"},
		"magic":              {"\x93NUMPX\x01\x00\x00\x00", 0, "it does not begin as NPY does"},
		"magic in text mode": {"?NUMPY\x01\x00\x00\x00", 0, "it does not begin as NPY does"},
		"version 0":          {"\x93NUMPY\x00\x00\x00\x00", 6, "version 0.0; 1.0 to 3.0 are read"},
		"version 4.1":        {"\x93NUMPY\x04\x01\x00\x00", 6, "version 4.1; 1.0 to 3.0 are read"},
		"no length":          {"\x93NUMPY\x01\x00\x00", 8, "a length of 2, 1 bytes are left"},
		"no length, 2":       {"\x93NUMPY\x02\x00\x00\x00\x00", 8, "4 bytes are needed, 3 are left"},
		"longer by one":      {"\x93NUMPY\x01\x00\x03\x00{}", 10, "a length of 3, 2 bytes are left"},
		"65537":              {"\x93NUMPY\x02\x00\x01\x00\x01\x00{}", 12, "a length of 65537 is over the limit of 65536"},
		"2^32 - 1":           {"\x93NUMPY\x03\x00\xff\xff\xff\xff{}", 12, "a length of 4294967295 is over the limit of 65536"},
	} {
		t.Run(name, func(t *testing.T) { parse.Refuses(t, []byte(c.file), int64(len(c.file)), c.at, c.msg) })
	}
}

func TestNames(t *testing.T) {
	file := append(framed(1, dict("|u1", "False", "()")), 0)
	for name, want := range map[string]string{"a.npy": "a", "x/y.z.npy": "y.z", "a.NPY": "a", "a": "a", "x/.npy": ""} {
		ix, err := Parse(name, bytes.NewReader(file), int64(len(file)))
		if err != nil || ix.Tensors[0].Name != want || ix.Tensors[0].File != name {
			t.Errorf("%s: %+v, %v, want %q", name, ix, err, want)
		}
	}
}

// TestRead reads an array amid other bytes.
func TestRead(t *testing.T) {
	array := append(framed(2, dict("<i2", "True", "(2, 2)")), make([]byte, 8)...)
	file := append(append([]byte("before"), array...), "behind"...)
	got, err := Read(bytes.NewReader(file), 6, int64(len(array)))
	if err != nil || !reflect.DeepEqual(got, Header{tensors.I16, []int64{2, 2}, true, false, int64(len(array) - 8 + 6), 8}) {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = Read(bytes.NewReader(file), 6, int64(len(array)-1))
	if want := fmt.Sprintf("NPY: at byte %d: I16[2 2] needs 8 bytes, 7 are left", len(array)-8+6); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	row := append(framed(1, dict("<i2", "True", "(1, 2)")), make([]byte, 4)...)
	if got, err := Read(bytes.NewReader(row), 0, int64(len(row))); err != nil || got.Columns {
		t.Errorf("a row is in either order: %+v, %v", got, err)
	}
	_, err = Read(bytes.NewReader(file), 7, int64(len(array)))
	if want := "NPY: at byte 7: it does not begin as NPY does"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestBytesBehind: NumPy reads one array of a file, whatever follows it.
func TestBytesBehind(t *testing.T) {
	head := framed(1, dict("|i1", "False", "(2,)"))
	file := append(head, make([]byte, 99)...)
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if want := []tensors.Finding{{File: fileName, Offset: int64(len(head)) + 2, Text: "97 bytes follow the array"}}; !reflect.DeepEqual(ix.Findings, want) {
		t.Errorf("%+v, want %+v", ix.Findings, want)
	}
}

func sound() []byte {
	return append(framed(1, dict("<f4", "True", "(2, 3)")+"  \n"), make([]byte, 24)...)
}

func TestDamaged(t *testing.T) {
	file := sound()
	header := len(file) - 24
	parse.Cut(t, file, header)
	parse.Flip(t, file, header, func(ix *tensors.Index) { check(t, ix, int64(len(file))) })
	parse.Fail(t, file, header-10)
}
