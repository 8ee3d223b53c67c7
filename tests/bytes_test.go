// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// index is index.json, as the contract has it.
type index struct {
	Model      string        `json:"model"`
	Generation string        `json:"generation"`
	Tensors    []indexTensor `json:"tensors"`
	Error      *string       `json:"error"`
}

type indexTensor struct {
	Name       string  `json:"name"`
	Path       string  `json:"path"`
	DType      string  `json:"dtype"`
	Shape      []int64 `json:"shape"`
	Strides    []int64 `json:"strides"`
	NBytes     int64   `json:"nbytes"`
	File       *string `json:"file"`
	Offset     *int64  `json:"offset"`
	Contiguous bool    `json:"contiguous"`
}

// index reads the index.json below tensors/.
func (d *daemon) index(folder string) (ix index) {
	d.t.Helper()
	text := must(d.read(d.at("tensors", folder, "index.json")))(d.t)
	if err := json.Unmarshal(text, &ix); err != nil {
		d.t.Fatalf("index.json of %s: %v\n%s", folder, err, text)
	}
	return ix
}

// variety are tensors of every kind that a path or a size can stumble over.
func variety() []weights.Tensor {
	ts := []weights.Tensor{
		{Name: "scalar", DType: "F32", Data: weights.Pattern(1, 4)},
		{Name: "empty", DType: "F16", Shape: []int64{0, 7}},
		{Name: "one byte", DType: "BOOL", Shape: []int64{1}, Data: []byte{1}},
		{Name: "layers/0/weight", DType: "BF16", Shape: []int64{3, 5, 2}, Data: weights.Pattern(2, 60)},
		{Name: "layers/0/bias", DType: "F8_E4M3", Shape: []int64{33}, Data: weights.Pattern(3, 33)},
		{Name: "layers/0", DType: "I64", Shape: []int64{2}, Data: weights.Pattern(4, 16)},
		{Name: "page", DType: "U8", Shape: []int64{4096}, Data: weights.Pattern(5, 4096)},
		{Name: "more than a page", DType: "F64", Shape: []int64{513}, Data: weights.Pattern(6, 4104)},
		{Name: "large", DType: "F32", Shape: []int64{1 << 10, 5 << 8}, Data: weights.Pattern(7, 5<<20)},
	}
	for i, name := range oddNames() {
		ts = append(ts, weights.Tensor{Name: name.tensor, DType: "U16", Shape: []int64{int64(i) + 1}, Data: weights.Pattern(uint64(100+i), 2*i+2)})
	}
	return ts
}

// TestBytes: what the mount shows is what lies on disk, for whole files, tensors,
// .npy files and by the offsets of index.json; and nothing else is there.
// The control: one other byte is a difference that the same comparison finds.
func TestBytes(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		models := writeVariety(p)
		d := p.start()
		d.compareFiles(p.models, d.at("models"))
		for folder, ts := range models {
			d.compareTensors(folder, ts)
		}
		if t.Failed() {
			return
		}
		victim := filepath.Join(p.models, "plain", "config.json")
		content := must(os.ReadFile(victim))(t)
		content[3] ^= 1
		if differs := d.difference(d.model("plain", "config.json"), content); differs == "" {
			t.Error("the control: the comparison does not see a changed byte")
		}
	})
}

// writeVariety writes models of several kinds and returns their tensors by the
// folder below tensors/ where they must be.
func writeVariety(p *place) map[string][]weights.Tensor {
	ts := variety()
	p.write("plain/model.safetensors", weights.Safetensors(ts...))
	p.write("plain/config.json", []byte(`{"model_type":"test"}`))
	p.write("plain/text/merges.txt", weights.Pattern(9, 70_001))
	p.write("plain/empty.txt", nil)

	half := len(ts) / 2
	shards := map[string][]weights.Tensor{
		"model-00001-of-00002.safetensors": ts[:half], "model-00002-of-00002.safetensors": ts[half:],
	}
	for file, part := range shards {
		p.write("org/sharded/"+file, weights.Safetensors(part...))
	}
	p.write("org/sharded/model.safetensors.index.json", weights.Shards(shards))

	blocks := []weights.Tensor{
		{Name: "token_embd.weight", DType: "F32", Shape: []int64{5, 32}, Data: weights.Pattern(20, 640)},
		{Name: "blk.0.q4_0", DType: "Q4_0", Shape: []int64{3, 64}, Data: weights.Pattern(21, 3*2*18)},
		{Name: "blk.0.q8_0", DType: "Q8_0", Shape: []int64{32}, Data: weights.Pattern(22, 34)},
		{Name: "blk.0.q4_k", DType: "Q4_K", Shape: []int64{2, 2, 256}, Data: weights.Pattern(23, 4*144)},
		{Name: "blk.0.bf16", DType: "BF16", Shape: []int64{7}, Data: weights.Pattern(24, 14)},
	}
	p.write("small/weights.gguf", weights.GGUF(blocks...))

	// Two of one kind: no primary checkpoint, each has a folder of its own.
	p.write("quants/a.gguf", weights.GGUF(blocks[:2]...))
	p.write("quants/b.gguf", weights.GGUF(blocks[2:]...))
	return map[string][]weights.Tensor{
		"plain": ts, "org/sharded": ts, "small": blocks, "quants/a.gguf": blocks[:2], "quants/b.gguf": blocks[2:],
	}
}

// compareFiles compares two trees: names, kinds and bytes.
func (d *daemon) compareFiles(source, shown string) {
	d.t.Helper()
	var want []string
	err := filepath.WalkDir(source, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == source {
			return err
		}
		rel := strings.TrimPrefix(path, source+"/")
		if e.IsDir() {
			want = append(want, rel+"/")
			return nil
		}
		want = append(want, rel)
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if differs := d.difference(filepath.Join(shown, rel), content); differs != "" {
			d.t.Errorf("models/%s: %s", rel, differs)
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	if got := must(d.walk(shown))(d.t); !slices.Equal(got, want) {
		d.t.Errorf("%s shows\n%q, want\n%q", shown, got, want)
	}
}

// difference compares a file of the mount, by read and by mapping.
func (d *daemon) difference(path string, want []byte) string {
	d.t.Helper()
	got, err := d.read(path)
	switch {
	case err != nil:
		return err.Error()
	case len(got) != len(want):
		return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
	case !bytes.Equal(got, want):
		return "read gives other bytes"
	}
	if len(want) == 0 {
		return "" // cannot be mapped
	}
	id, err := d.attach(path)
	if err != nil {
		return err.Error()
	}
	sum, err := d.sum(id)
	switch {
	case err != nil:
		return err.Error()
	case sum != digest(want):
		return "a mapping shows other bytes"
	}
	if err := d.unmap(id); err != nil {
		return err.Error()
	}
	return ""
}

// compareTensors compares a folder of tensors/ with what was written.
func (d *daemon) compareTensors(folder string, ts []weights.Tensor) {
	d.t.Helper()
	ix := d.index(folder)
	if ix.Error != nil {
		d.t.Errorf("%s: index.json says %s", folder, *ix.Error)
	}
	if len(ix.Tensors) != len(ts) {
		d.t.Errorf("%s: %d tensors in index.json, want %d", folder, len(ix.Tensors), len(ts))
	}
	byName := map[string]weights.Tensor{}
	for _, w := range ts {
		byName[w.Name] = w
	}
	shown := []string{"index.json"}
	for _, it := range ix.Tensors {
		w, ok := byName[it.Name]
		if !ok {
			d.t.Errorf("%s: index.json has the tensor %q, which nobody wrote", folder, it.Name)
			continue
		}
		d.compareTensor(folder, it, w)
		shown = append(shown, it.Path, it.Path+".npy")
	}
	var files []string
	for _, name := range must(d.walk(d.at("tensors", folder)))(d.t) {
		if !strings.HasSuffix(name, "/") {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	if slices.Sort(shown); !slices.Equal(files, shown) {
		d.t.Errorf("tensors/%s holds\n%q, want\n%q", folder, files, shown)
	}
}

func (d *daemon) compareTensor(folder string, it indexTensor, w weights.Tensor) {
	d.t.Helper()
	what := fmt.Sprintf("%s: %q", folder, it.Name)
	if it.DType != w.DType || !slices.Equal(it.Shape, w.Shape) || it.NBytes != int64(len(w.Data)) {
		d.t.Errorf("%s is %s%v of %d bytes, want %s%v of %d", what, it.DType, it.Shape, it.NBytes, w.DType, w.Shape, len(w.Data))
	}
	if differs := d.difference(d.at("tensors", folder, it.Path), w.Data); differs != "" {
		d.t.Errorf("%s: %s", what, differs)
	}
	npy := must(d.read(d.at("tensors", folder, it.Path+".npy")))(d.t)
	header := npy[:min(4096, len(npy))]
	if !bytes.HasPrefix(header, []byte("\x93NUMPY\x01\x00\xf6\x0f{")) || !bytes.HasSuffix(header, []byte(" \n")) {
		d.t.Errorf("%s: .npy begins with %q, no header of 4096 bytes", what, header[:min(40, len(header))])
	} else if !bytes.Equal(npy[4096:], w.Data) {
		d.t.Errorf("%s: .npy has other bytes", what)
	}
	if it.File == nil || it.Offset == nil {
		d.t.Errorf("%s: index.json does not say where it lies", what)
		return
	}
	if len(w.Data) == 0 {
		return
	}
	model := folder
	if strings.HasSuffix(folder, ".gguf") {
		model = filepath.Dir(folder)
	}
	fd := must(d.open(d.model(model, *it.File), 0))(d.t)
	if got := must(d.pread(fd, *it.Offset, len(w.Data)))(d.t); !bytes.Equal(got, w.Data) {
		d.t.Errorf("%s: other bytes at %d of %s", what, *it.Offset, *it.File)
	}
	if err := d.close(fd); err != nil {
		d.t.Error(err)
	}
}
