// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// indexJSON is index.json as its readers see it.
type indexJSON struct {
	Model      string `json:"model"`
	Generation string `json:"generation"`
	Tensors    []struct {
		Name       string   `json:"name"`
		Path       string   `json:"path"`
		DType      DType    `json:"dtype"`
		Shape      []int64  `json:"shape"`
		Strides    *[]int64 `json:"strides"`
		NBytes     int64    `json:"nbytes"`
		File       *string  `json:"file"`
		Offset     *int64   `json:"offset"`
		Contiguous bool     `json:"contiguous"`
	} `json:"tensors"`
	Error *string `json:"error"`
}

// strange are names that JSON, or a path, must escape.
var strange = []string{
	"plain", "a/b", "", "quote\"back\\slash", "tab\tnew\nline\x00nul\x7f", "<script>&amp;", "größe", "💡", "\u2028", "%2E", ".", "index.json",
}

func TestWriteIndex(t *testing.T) {
	var ix Index
	for i, name := range strange {
		ix.Tensors = append(ix.Tensors, Tensor{
			Name: name, DType: F32, Shape: []int64{int64(i), 3}, NBytes: int64(i) * 12, File: "dir/" + name, Offset: 1<<62 + int64(i),
		})
	}
	ix.Tensors = append(ix.Tensors,
		Tensor{Name: "scalar", DType: BF16, NBytes: 2, File: "m"},
		Tensor{Name: "turned", DType: I8, Shape: []int64{2, 3}, Strides: []int64{1, 2}, NBytes: 6, File: "m", Offset: 7},
		Tensor{Name: "block", DType: Q4_K, Shape: []int64{2, 256}, NBytes: 288, File: "m"},
		Tensor{Name: "converted", DType: F16, Shape: []int64{1}, NBytes: 2},
	)
	tree := NewTree(ix.Tensors)
	for _, problem := range []string{"", "model.bin: bad \"magic\"\n at byte 0"} {
		var text bytes.Buffer
		if err := WriteIndex(&text, `org/"m"`, "gen\\1", &ix, tree.Path, problem); err != nil {
			t.Fatal(err)
		}
		back := decode(t, text.Bytes())
		if back.Model != `org/"m"` || back.Generation != "gen\\1" || (back.Error == nil) != (problem == "") {
			t.Errorf("%+v", back)
		}
		if back.Error != nil && *back.Error != problem {
			t.Errorf("error %q", *back.Error)
		}
		compareIndex(t, back, &ix, tree)
	}
}

// decode is strict: no field is unknown, none comes twice.
func decode(t *testing.T, text []byte) indexJSON {
	t.Helper()
	var back indexJSON
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&back); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("something follows: %v", err)
	}
	return back
}

func compareIndex(t *testing.T, back indexJSON, ix *Index, tree *Tree) {
	t.Helper()
	if len(back.Tensors) != len(ix.Tensors) {
		t.Fatalf("%d tensors, want %d", len(back.Tensors), len(ix.Tensors))
	}
	for i, want := range ix.Tensors {
		got := back.Tensors[i]
		if got.Name != want.Name || got.Path != tree.Path(i) || got.DType != want.DType || got.NBytes != want.NBytes {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got.Shape == nil || !slices.Equal(got.Shape, want.Shape) || got.Contiguous != want.Contiguous() {
			t.Errorf("%+v, want %+v", got, want)
		}
		if strides := want.StridesOrDefault(); (got.Strides == nil) != (strides == nil) || strides != nil && !slices.Equal(*got.Strides, strides) {
			t.Errorf("%s: strides %v, want %v", want.Name, got.Strides, strides)
		}
		if nowhere := want.File == ""; (got.File == nil) != nowhere || (got.Offset == nil) != nowhere {
			t.Errorf("%s lies in %v at %v", want.Name, got.File, got.Offset)
		} else if !nowhere && (*got.File != want.File || *got.Offset != want.Offset) {
			t.Errorf("%s lies in %s at %d", want.Name, *got.File, *got.Offset)
		}
	}
}

// TestWriteIndexText is the contract to the byte, for those who read it with
// tools that know no JSON.
func TestWriteIndexText(t *testing.T) {
	var text strings.Builder
	ix := Index{Tensors: []Tensor{{Name: "w", DType: F32, Shape: []int64{512, 80, 3}, NBytes: 491520, File: "model.safetensors", Offset: 8}}}
	if err := WriteIndex(&text, "m", "g", &ix, func(int) string { return "w" }, ""); err != nil {
		t.Fatal(err)
	}
	const want = `{"model": "m", "generation": "g", "tensors": [
  {"name": "w", "path": "w", "dtype": "F32", "shape": [512,80,3], "strides": [240,3,1], "nbytes": 491520, ` +
		`"file": "model.safetensors", "offset": 8, "contiguous": true}
], "error": null}
`
	if text.String() != want {
		t.Errorf("got\n%swant\n%s", text.String(), want)
	}
	text.Reset()
	if err := WriteIndex(&text, "m", "g", &Index{}, nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := decode(t, []byte(text.String())); got.Tensors == nil || len(got.Tensors) != 0 {
		t.Errorf("no tensors: %s", text.String())
	}
}

// TestWriteIndexNotUTF8: the text is valid whatever the names are, and the paths
// are still distinct.
func TestWriteIndexNotUTF8(t *testing.T) {
	ix := Index{Tensors: []Tensor{{Name: "a\xff", DType: U8}, {Name: "a\xfe", DType: U8}}}
	tree := NewTree(ix.Tensors)
	var text bytes.Buffer
	if err := WriteIndex(&text, "\xff", "\xff", &ix, tree.Path, "\xff"); err != nil {
		t.Fatal(err)
	}
	got := decode(t, text.Bytes())
	if want := []string{"a%FF", "a%FE"}; !reflect.DeepEqual([]string{got.Tensors[0].Path, got.Tensors[1].Path}, want) {
		t.Errorf("paths of %s", text.String())
	}
}

type failing struct{ after int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteIndexFails(t *testing.T) {
	ix := many(2000)
	tree := NewTree(ix.Tensors)
	for _, after := range []int{0, 1, 70_000, 140_000} {
		if err := WriteIndex(&failing{after}, "m", "g", ix, tree.Path, ""); !errors.Is(err, errFull) {
			t.Errorf("after %d bytes: %v", after, err)
		}
		if err := WriteColumns(&failing{after}, "m", "g", ix, tree.Path, ""); !errors.Is(err, errFull) {
			t.Errorf("by columns, after %d bytes: %v", after, err)
		}
	}
}

// TestWriteColumns: the columns and the entries of the others are the index.
func TestWriteColumns(t *testing.T) {
	ix := Index{Tensors: []Tensor{
		{Name: "w", DType: F32, Shape: []int64{2, 3}, NBytes: 24, File: "a", Offset: 1 << 62},
		{Name: "turned", DType: I8, Shape: []int64{2, 3}, Strides: []int64{1, 2}, NBytes: 6, File: "a", Offset: 7},
		{Name: "a \"block\"", DType: Q4_K, Shape: []int64{2, 256}, NBytes: 288, File: "b"},
		{Name: "a/converted", DType: F16, Shape: []int64{1}, NBytes: 2},
		{Name: "scalar", DType: F32, NBytes: 4, File: "b", Offset: 288},
		{Name: "empty", DType: BF16, Shape: []int64{0}, File: "b", Offset: 292},
	}}
	tree := NewTree(ix.Tensors)
	const want = `{"model": "org/m", "generation": "g", "error": null,
"files": ["a","b"],
"dtypes": ["F32","I8","Q4_K","F16","BF16"],
"names": ["w","turned","a \"block\"","a/converted","scalar","empty"],
"shapes": [[2,3],[2,3],[2,256],[1],[],[0]],
"nbytes": [24,6,288,2,4,0],
"dtype": [0,1,2,3,0,4],
"file": [0,null,1,null,1,1],
"offset": [4611686018427387904,null,0,null,288,292],
"others": [{"name": "turned", "path": "turned", "dtype": "I8", "shape": [2,3], "strides": [1,2], "nbytes": 6, "file": "a", "offset": 7, "contiguous": false},` +
		`{"name": "a/converted", "path": "a/converted", "dtype": "F16", "shape": [1], "strides": [1], "nbytes": 2, "file": null, "offset": null, "contiguous": true}]}
`
	var text strings.Builder
	if err := WriteColumns(&text, "org/m", "g", &ix, tree.Path, ""); err != nil {
		t.Fatal(err)
	}
	if text.String() != want {
		t.Errorf("got\n%swant\n%s", text.String(), want)
	}
	text.Reset()
	if err := WriteColumns(&text, "m", "g", &Index{}, nil, "bad \"magic\""); err != nil {
		t.Fatal(err)
	}
	if !json.Valid([]byte(text.String())) || !strings.Contains(text.String(), `"error": "bad \"magic\""`) {
		t.Errorf("of nothing: %s", text.String())
	}
}

// TestColumnsName: no tensor is called so, whatever its name is.
func TestColumnsName(t *testing.T) {
	for _, name := range []string{ColumnsName, "%25index", "%", "%%index"} {
		if EscapePath(name) == ColumnsName {
			t.Errorf("the path of %q", name)
		}
	}
}

// many is an index as large models have it.
func many(n int) *Index {
	ix := &Index{Tensors: make([]Tensor, n)}
	parts := []string{"mlp.down_proj.weight", "self_attn.q_proj.weight", "input_layernorm.weight", "mlp.experts.7.up_proj.weight"}
	for i := range ix.Tensors {
		ix.Tensors[i] = Tensor{
			Name:  fmt.Sprintf("model.layers.%d.%s", i/len(parts), parts[i%len(parts)]),
			DType: BF16, Shape: []int64{4096, 4096}, NBytes: 32 << 20, File: "model-00001-of-00002.safetensors", Offset: int64(i) * (32 << 20),
		}
	}
	return ix
}

func BenchmarkWriteIndex(b *testing.B) {
	ix := many(100_000)
	tree := NewTree(ix.Tensors)
	b.ReportAllocs()
	for b.Loop() {
		if err := WriteIndex(io.Discard, "m", "g", ix, tree.Path, ""); err != nil {
			b.Fatal(err)
		}
	}
}
