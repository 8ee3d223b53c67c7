// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/internal/pythontest"
	"github.com/modelfs/modelfs/tensors"
)

func made(name string, d tensors.DType, shape ...int64) tensors.Tensor {
	n, err := d.NBytes(shape)
	if err != nil {
		panic(err)
	}
	return tensors.Tensor{Name: name, DType: d, Shape: shape, NBytes: n, File: "from", Offset: 7}
}

// everything has every dtype of the format, empty tensors, scalars, and names that
// JSON has to escape.
func everything() []tensors.Tensor {
	all := []tensors.Tensor{
		made("", tensors.F32, 3), made("ä\u2028\U0001f600", tensors.U8, 5), made("a\"b\\c\x00\x1f\x7f\n/<&>", tensors.F32), made("zero", tensors.F64, 2, 0, 3),
		made("eight", tensors.I16, 1, 2, 1, 2, 1, 2, 1, 3), made("dims", tensors.U8, 1<<62, 0),
	}
	for i, d := range slices.Backward(dtypeOrder[:]) {
		all = append(all, made(fmt.Sprintf("b%02d", i), d, 3, 4), made(fmt.Sprintf("a%02d", i), d, 4))
	}
	return all
}

// content is the bytes of a tensor, made of its name.
func content(t *tensors.Tensor) []byte {
	b := make([]byte, t.NBytes)
	for i := range b {
		b[i] = byte(i) * byte(len(t.Name)+1)
		if t.DType == tensors.BOOL {
			b[i] &= 1
		}
	}
	return b
}

func written(t *testing.T, f *File) []byte {
	t.Helper()
	var b bytes.Buffer
	err := f.Write(&b, func(w io.Writer, ts *tensors.Tensor) error {
		c := content(ts)
		for len(c) > 0 { // in pieces
			n := min(len(c), 5)
			if _, err := w.Write(c[:n]); err != nil {
				return err
			}
			c = c[n:]
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if int64(b.Len()) != f.Size {
		t.Errorf("%s: %d bytes, planned are %d", f.Name, b.Len(), f.Size)
	}
	return b.Bytes()
}

// checkLayout holds for every layout: its files are sound and hold the tensors that
// were given, in pages and aligned.
func checkLayout(tb testing.TB, l *Layout, all []tensors.Tensor, o Options) {
	tb.Helper()
	given := make(map[string]tensors.Tensor)
	for _, t := range all {
		given[t.Name] = t
	}
	total := int64(0)
	for i, f := range l.Files {
		if len(f.Header)%PageSize != 0 {
			tb.Errorf("%s: a header of %d bytes", f.Name, len(f.Header))
		}
		ix, err := parse.Look(tb, f.Header, f.Size)
		if err != nil {
			tb.Fatalf("%s: %v", f.Name, err)
		}
		if len(ix.Tensors) != len(f.Tensors) {
			tb.Fatalf("%s: %d tensors, %d are read", f.Name, len(f.Tensors), len(ix.Tensors))
		}
		size, width := int64(0), int64(16)
		// Of two that begin at the same byte, the parser has the shorter one first.
		planned := slices.Clone(f.Tensors)
		at := int64(len(f.Header))
		for j := range planned {
			planned[j].Offset = at
			at += planned[j].NBytes
		}
		slices.SortStableFunc(planned, func(a, b tensors.Tensor) int {
			return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.NBytes, b.NBytes))
		})
		for j, want := range planned {
			got := ix.Tensors[j]
			if got.Name != want.Name || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || got.NBytes != want.NBytes || got.Offset != want.Offset {
				tb.Errorf("%s: %+v is read as %+v", f.Name, want, got)
			}
		}
		for _, t := range f.Tensors {
			from, ok := given[t.Name]
			if !ok || from.File != t.File || from.Offset != t.Offset || from.DType != t.DType {
				tb.Errorf("%s: %+v was not given", f.Name, t)
			}
			delete(given, t.Name)
			elements, w := t.DType.Block()
			if elements > 1 {
				w = 1
			}
			if w > width || size%w != 0 {
				tb.Errorf("%s: %q is %s at %d, after one of %d bytes", f.Name, t.Name, t.DType, size, width)
			}
			width = w
			size += t.NBytes
		}
		if o.Shard > 0 && size > o.Shard && slices.ContainsFunc(f.Tensors, func(t tensors.Tensor) bool { return t.NBytes > 0 && t.NBytes < size }) {
			tb.Errorf("%s: %d bytes in several tensors", f.Name, size)
		}
		total += size
		if want := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(l.Files)); len(l.Files) > 1 && f.Name != want {
			tb.Errorf("%s, want %s", f.Name, want)
		}
	}
	if len(given) > 0 || total != l.Total {
		tb.Errorf("%d of %d bytes; left out are %v", total, l.Total, given)
	}
	if (len(l.Files) > 1) != (l.IndexName != "") || (l.Index != nil) != (l.IndexName != "") {
		tb.Errorf("%d files, and the index %q", len(l.Files), l.IndexName)
	}
	if l.Index != nil {
		checkIndex(tb, l)
	}
}

func checkIndex(tb testing.TB, l *Layout) {
	tb.Helper()
	s, err := parseShards.Look(tb, l.Index, int64(len(l.Index)))
	if err != nil {
		tb.Fatal(err)
	}
	n := 0
	for _, f := range l.Files {
		n += len(f.Tensors)
		for _, t := range f.Tensors {
			if s.Files[s.Tensors[t.Name]] != f.Name {
				tb.Errorf("%q is in %s, by the index in %s", t.Name, f.Name, s.Files[s.Tensors[t.Name]])
			}
		}
	}
	var other struct {
		Metadata map[string]int64 `json:"metadata"`
	}
	if err := json.Unmarshal(l.Index, &other); err != nil || other.Metadata["total_size"] != l.Total || n != len(s.Tensors) {
		tb.Errorf("%d tensors of %d: %v, %v", len(s.Tensors), n, other, err)
	}
}

func TestPlan(t *testing.T) {
	for _, o := range []Options{{}, {Shard: 1}, {Shard: 40}, {Shard: 100}, {Shard: 1 << 40}, {Metadata: map[string]string{}}} {
		all := everything()
		l, err := Plan(all, o)
		if err != nil {
			t.Fatal(err)
		}
		checkLayout(t, l, all, o)
		for i := range l.Files {
			f := &l.Files[i]
			b := written(t, f)
			ix, err := parse.Look(t, b, int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			for _, ts := range ix.Tensors {
				if !bytes.Equal(b[ts.Offset:ts.Offset+ts.NBytes], content(&ts)) {
					t.Errorf("%s: %q has other bytes", f.Name, ts.Name)
				}
			}
		}
	}
}

func TestHeaderText(t *testing.T) {
	for _, c := range []struct {
		all      []tensors.Tensor
		metadata map[string]string
		want     string
	}{
		{nil, nil, `{"__metadata__":{"format":"pt"}}`},
		{nil, map[string]string{}, `{}`},
		{[]tensors.Tensor{made("b", tensors.F16, 2), made("c", tensors.F32), made("a", tensors.F16)}, map[string]string{"y": "\t", "x": "ü"},
			`{"__metadata__":{"x":"ü","y":"\u0009"},"c":{"dtype":"F32","shape":[],"data_offsets":[0,4]},` +
				`"a":{"dtype":"F16","shape":[],"data_offsets":[4,6]},"b":{"dtype":"F16","shape":[2],"data_offsets":[6,10]}}`},
	} {
		l, err := Plan(c.all, Options{Name: "x", Metadata: c.metadata})
		if err != nil {
			t.Fatal(err)
		}
		f := l.Files[0]
		if got := strings.TrimRight(string(f.Header[8:]), " "); got != c.want || len(l.Files) != 1 || f.Name != "x.safetensors" {
			t.Errorf("%s: %s\nwant %s", f.Name, got, c.want)
		}
		if n := binary.LittleEndian.Uint64(f.Header); n != uint64(len(f.Header)-8) || len(f.Header) != PageSize {
			t.Errorf("%d, of %d bytes", n, len(f.Header))
		}
	}
}

func TestShardsOfPlan(t *testing.T) {
	of := func(sizes ...int64) (all []tensors.Tensor) {
		for i, n := range sizes {
			all = append(all, made(string(rune('a'+i)), tensors.U8, n))
		}
		return all
	}
	for _, c := range []struct {
		sizes []int64
		limit int64
		want  string
	}{
		{nil, 10, ""},
		{[]int64{5, 5}, 0, "ab"},
		{[]int64{5, 5}, 10, "ab"},
		{[]int64{5, 5, 1}, 10, "ab c"},
		{[]int64{5, 6, 4, 1}, 10, "a bc d"},
		{[]int64{1, 11, 1}, 10, "a b c"},
		{[]int64{11, 0, 10, 0, 0}, 10, "a bcde"},
		{[]int64{0, 0, 11}, 10, "abc"},
	} {
		l, err := Plan(of(c.sizes...), Options{Shard: c.limit})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range l.Files {
			names := ""
			for _, ts := range f.Tensors {
				names += ts.Name
			}
			got = append(got, names)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v, %d each: %q, want %q", c.sizes, c.limit, s, c.want)
		}
		checkLayout(t, l, of(c.sizes...), Options{Shard: c.limit})
	}
	l, err := Plan(of(1, 2), Options{Shard: 2, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "metadata": {
    "total_size": 3
  },
  "weight_map": {
    "a": "x-00001-of-00002.safetensors",
    "b": "x-00002-of-00002.safetensors"
  }
}
`
	if l.IndexName != "x.safetensors.index.json" || string(l.Index) != want {
		t.Errorf("%s: %s", l.IndexName, l.Index)
	}
}

func TestUnwritable(t *testing.T) {
	long := strings.Repeat("x", maxName)
	odd := made("odd", tensors.F32, 3)
	odd.NBytes = 11
	var crowd []tensors.Tensor
	for i := range 101 {
		crowd = append(crowd, made(fmt.Sprintf("%s%d", long[:1_000_000], i), tensors.U8, 1))
	}
	huge := []tensors.Tensor{made("a", tensors.U8, 1<<61), made("b", tensors.U8, 1<<61)}
	for name, c := range map[string]struct {
		all  []tensors.Tensor
		o    Options
		want string
		is   error
	}{
		"block type":     {[]tensors.Tensor{made("w", tensors.Q4_K, 256)}, Options{}, `"w" is Q4_K, which is no dtype of safetensors: export with --dtype f32`, ErrUnwritable},
		"complex":        {[]tensors.Tensor{made("w", tensors.C128, 2)}, Options{}, `"w" is C128, which is no dtype of safetensors: `, ErrUnwritable},
		"no type":        {[]tensors.Tensor{{Name: "w"}}, Options{}, `"w" is DType(0), which`, ErrUnwritable},
		"not UTF-8":      {[]tensors.Tensor{made("a\xff", tensors.U8, 2)}, Options{}, `the name "a\xff" is not UTF-8`, ErrUnwritable},
		"surrogate":      {[]tensors.Tensor{made("\xed\xa0\x80", tensors.U8, 2)}, Options{}, `is not UTF-8`, ErrUnwritable},
		"twice":          {[]tensors.Tensor{made("a", tensors.U8, 2), made("b", tensors.U8), made("a", tensors.F32)}, Options{Shard: 1}, `the tensor "a" is there twice`, ErrUnwritable},
		"metadata":       {[]tensors.Tensor{made("__metadata__", tensors.U8, 2)}, Options{}, `a tensor is named "__metadata__"`, ErrUnwritable},
		"long name":      {[]tensors.Tensor{made(long+"x", tensors.U8, 2)}, Options{}, fmt.Sprintf("has %d bytes, over the limit of %d", maxName+1, maxName), ErrUnwritable},
		"other size":     {[]tensors.Tensor{odd}, Options{}, `"odd" has 11 bytes, F32[3] needs 12`, tensors.ErrShape},
		"negative":       {[]tensors.Tensor{{Name: "n", DType: tensors.F32, Shape: []int64{-1}}}, Options{}, `"n": `, tensors.ErrShape},
		"huge":           {huge, Options{}, `the tensors up to "b" have over`, ErrUnwritable},
		"header":         {crowd, Options{}, "model.safetensors has a header of", ErrUnwritable},
		"header of two":  {append(crowd, made("y", tensors.U8, 200)), Options{Shard: 200}, "model-00001-of-00002.safetensors has a header of", ErrUnwritable},
		"index":          {crowd, Options{Shard: 50}, "model.safetensors.index.json has", ErrUnwritable},
		"metadata key":   {nil, Options{Metadata: map[string]string{"\xff": ""}}, "the metadata", ErrUnwritable},
		"metadata value": {nil, Options{Metadata: map[string]string{"k": "\xff"}}, "the metadata", ErrUnwritable},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Plan(c.all, c.o)
			if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) || len(err.Error()) > 1000 {
				t.Errorf("%.300v, want %s", err, c.want)
			}
			if l != nil {
				t.Error("there is a layout besides the error")
			}
		})
	}
	if _, err := Plan([]tensors.Tensor{made(long, tensors.U8, 2)}, Options{}); err != nil {
		t.Errorf("the longest name: %v", err)
	}
}

// full takes so many bytes.
type full struct{ left int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriteErrors(t *testing.T) {
	l, err := Plan([]tensors.Tensor{made("a", tensors.U8, 10), made("b", tensors.U8, 10)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &l.Files[0]
	give := func(n int) func(io.Writer, *tensors.Tensor) error {
		return func(w io.Writer, ts *tensors.Tensor) error {
			if ts.Name == "a" {
				_, err := w.Write(make([]byte, 10))
				return err
			}
			_, err := w.Write(make([]byte, n))
			return err
		}
	}
	for at := range int(f.Size) {
		if err := f.Write(&full{at}, give(10)); !errors.Is(err, errFull) {
			t.Fatalf("full after %d bytes: %v", at, err)
		}
	}
	if err := f.Write(&full{int(f.Size)}, give(10)); err != nil {
		t.Error(err)
	}
	if err := f.Write(io.Discard, give(9)); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("too few: %v", err)
	}
	if err := f.Write(io.Discard, give(11)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("too many: %v", err)
	}
	bad := errors.New("bad")
	if err := f.Write(io.Discard, func(io.Writer, *tensors.Tensor) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
}

// TestWithReference has the reference library read the files, and write the same
// tensors: it must have them in the same order.
func TestWithReference(t *testing.T) {
	python := pythontest.Find(t, "safetensors")
	const script = `
import ctypes, json, sys
from safetensors import TensorSpec, deserialize, serialize
kinds = {"BOOL": "bool", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
         "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
         "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz"}
for bits in "8", "16", "32", "64":
    kinds["U" + bits], kinds["I" + bits] = "uint" + bits, "int" + bits
def header(data):
    found = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    found.pop("__metadata__", None)
    return found
out = []
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    tensors = dict(deserialize(data))
    order = [k for k, v in header(data).items() if v["dtype"] in kinds]
    room = {k: ctypes.create_string_buffer(bytes(tensors[k]["data"])) for k in order}
    specs = {k: TensorSpec(dtype=kinds[tensors[k]["dtype"]], shape=tensors[k]["shape"], data_ptr=ctypes.addressof(room[k]),
                           data_len=len(tensors[k]["data"])) for k in sorted(order)}
    out.append({"order": order, "theirs": list(header(serialize(specs))),
                "tensors": {k: json.dumps([v["dtype"], v["shape"], bytes(v["data"]).hex()], separators=(",", ":")) for k, v in tensors.items()}})
print(json.dumps(out))
`
	l, err := Plan(everything(), Options{Shard: 120})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Plan(everything(), Options{Name: "whole"})
	if err != nil {
		t.Fatal(err)
	}
	files := append(l.Files, whole.Files...)
	dir := t.TempDir()
	args := []string{"-c", script}
	for i := range files {
		path := filepath.Join(dir, files[i].Name)
		if err := os.WriteFile(path, written(t, &files[i]), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	text, err := exec.Command(python, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var got []struct {
		Order, Theirs []string
		Tensors       map[string]string
	}
	if err := json.Unmarshal(text, &got); err != nil || len(got) != len(files) {
		t.Fatalf("%d results, %v", len(got), err)
	}
	for i, f := range files {
		if !slices.Equal(got[i].Order, got[i].Theirs) {
			t.Errorf("%s: the order is %q, the reference's %q", f.Name, got[i].Order, got[i].Theirs)
		}
		if len(got[i].Tensors) != len(f.Tensors) {
			t.Errorf("%s: %d tensors, want %d", f.Name, len(got[i].Tensors), len(f.Tensors))
		}
		for _, ts := range f.Tensors {
			want, err := json.Marshal([]any{ts.DType, append([]int64{}, ts.Shape...), hex.EncodeToString(content(&ts))})
			if err != nil {
				t.Fatal(err)
			}
			if have := got[i].Tensors[ts.Name]; have != string(want) {
				t.Errorf("%s: %q is %.200s, want %.200s", f.Name, ts.Name, have, want)
			}
		}
	}
}

// FuzzPlan takes descriptions of tensors: five bytes each for the dtype, the number of
// dimensions and their sizes, with the names between NULs.
func FuzzPlan(f *testing.F) {
	f.Add([]byte("\x0c\x02\x03\x04\x00\x02\x01\x09\x00\x00\x40\x01\x01\x00\x00"), "a\x00b\x00c", int64(20))
	f.Add([]byte("\x17\x01\x04\x00\x00\x15\x01\x04\x00\x00\x01\x03\x03\x00\x05"), "\x1f\"\x00\\u0000\x00ä", int64(1))
	f.Add([]byte("\x02\x02\xff\xff\x00\x02\x02\xff\xfe\x00\x09\x01\xff\x00\x00"), "\x00\xff\x00__metadata__", int64(0))
	f.Add([]byte("\x0c\x01\x01\x00\x00\x0c\x01\x01\x00\x00"), "a\x00a", int64(-1))
	f.Fuzz(func(t *testing.T, rows []byte, names string, shard int64) {
		var all []tensors.Tensor
		texts := strings.Split(names, "\x00")
		for i := 0; len(rows) >= 5 && i < len(texts); i++ {
			ts := tensors.Tensor{Name: texts[i], DType: tensors.DType(rows[0]), File: "f", Offset: int64(i)}
			for _, n := range rows[2 : 2+rows[1]%4] {
				size := int64(n)
				if n > 250 { // large ones too
					size = 1<<(10*(n-250)) - 1
				}
				ts.Shape = append(ts.Shape, size)
			}
			ts.NBytes, _ = ts.DType.NBytes(ts.Shape)
			all, rows = append(all, ts), rows[5:]
		}
		o := Options{Shard: shard}
		l, err := Plan(all, o)
		if err != nil {
			if !errors.Is(err, ErrUnwritable) && !errors.Is(err, tensors.ErrShape) {
				t.Errorf("%v", err)
			}
			return
		}
		checkLayout(t, l, all, o)
	})
}

func BenchmarkPlan(b *testing.B) {
	var all []tensors.Tensor
	for i := range 10_000 {
		all = append(all, made(fmt.Sprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", i/64, i%64), tensors.BF16, 4096, 14336))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Plan(all, Options{Shard: 5 << 30}); err != nil {
			b.Fatal(err)
		}
	}
}
