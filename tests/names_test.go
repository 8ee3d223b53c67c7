// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// oddName is a tensor's name and the path that it must become.
type oddName struct{ tensor, path string }

// oddNames are the cases of the contract. They can be in one file together.
func oddNames() []oddName {
	long := strings.Repeat("long name ", 26)
	return []oddName{
		{"100%", "100%25"},
		{"nul\x00here", "nul%00here"},
		{".", "%2E"},
		{"..", "%2E%2E"},
		{"up/../../etc/passwd", "up/%2E%2E/%2E%2E/etc/passwd"},
		{"/absolute", "%/absolute"},
		{"double//slash", "double/%/slash"},
		{"folder/", "folder/%"},
		{"weight.npy", "weight%2Enpy"},
		{"index.json", "index%2Ejson"},
		{"deep/index.json", "deep/index.json"},
		{"deep", "deep%"},
		{"ünïcode ✓\nline", "ünïcode ✓\nline"},
		{".hidden", ".hidden"},
		{"-rf", "-rf"},
		{long, ""}, // see TestNames
	}
}

// TestNames: tensors' names become the paths of the contract, in the mount and in
// index.json; models and files of odd names are shown under them.
// The control: names and paths differ in nearly all cases.
func TestNames(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		var ts []weights.Tensor
		paths := map[string]string{}
		for i, name := range oddNames() {
			ts = append(ts, weights.Bytes(name.tensor, uint64(i), 8))
			paths[name.tensor] = name.path
			if name.path == "" {
				sum := sha256.Sum256([]byte(name.tensor))
				paths[name.tensor] = name.tensor[:200] + "%~" + hex.EncodeToString(sum[:8])
			}
		}
		p.write("m/model.safetensors", weights.Safetensors(ts...))
		odd := []string{"with space/a b.safetensors", "new\nline/x.safetensors", "ünï/✓.safetensors", "100%/y.safetensors", "-n/-z.safetensors", "q\"'`$(x)/w.safetensors"}
		for _, name := range odd {
			p.write(name, weights.Single(1, 4096))
		}
		d := p.start()
		ix := d.index("m")
		if len(ix.Tensors) != len(ts) {
			t.Errorf("%d tensors, want %d (error %v)", len(ix.Tensors), len(ts), ix.Error)
		}
		shown := must(d.walk(d.at("tensors/m")))(t)
		for _, it := range ix.Tensors {
			if want := paths[it.Name]; it.Path != want {
				t.Errorf("%q has the path %q in index.json, want %q", it.Name, it.Path, want)
			}
			if !slices.Contains(shown, paths[it.Name]) || !slices.Contains(shown, paths[it.Name]+".npy") {
				t.Errorf("%q is not shown as %q and .npy", it.Name, paths[it.Name])
			}
		}
		for _, name := range odd {
			if st, err := d.stat(d.model(name)); err != nil || st.Size != 4096 {
				t.Errorf("models/%s: %v, %d bytes", name, err, st.Size)
			}
			model := filepath.Dir(name)
			if s := d.status().of(t, model); s.Bytes != 4096 {
				t.Errorf("status.json: %s has %d bytes", model, s.Bytes)
			}
			if _, stderr, code := d.run("load", "--", model); code != 0 {
				t.Errorf("load %q: %s", model, stderr)
			}
			if must(d.get(d.model(model), "state"))(t) != "resident" {
				t.Errorf("%q is not resident after it was loaded", model)
			}
		}
		if out, _, code := d.run("ls"); code != 0 || strings.Contains(out, "new\nline") {
			t.Errorf("ls exits %d, or prints a name with its newline:\n%s", code, out)
		}
	})
}

// TestEmptyName: a tensor may be called "", and its file is not the weight file: each has
// its own bytes, whichever is opened first, and its own blocks; also when there is no room
// for it, and when it is of a model that was published.
func TestEmptyName(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		ts := []weights.Tensor{
			{Name: "", DType: "F32", Shape: []int64{2}, Data: weights.Pattern(1, 8)},
			{Name: "w", DType: "F32", Shape: []int64{100000}, Data: weights.Pattern(2, 400000)},
		}
		files := map[string][]byte{"model.safetensors": weights.Safetensors(ts...), "model.gguf": weights.GGUF(ts...)}
		p.writeModels("full")
		var from string
		for name, content := range files {
			p.write("file-first-"+filepath.Ext(name)[1:]+"/"+name, content)
			from = p.write("tensor-first-"+filepath.Ext(name)[1:]+"/"+name, content)
		}
		d := p.start()
		for name, content := range files {
			kind := filepath.Ext(name)[1:]
			d.wantFile(d.model("file-first-"+kind, name), content)
			d.compareTensors("file-first-"+kind, ts)
			d.compareTensors("tensor-first-"+kind, ts)
			d.wantFile(d.model("tensor-first-"+kind, name), content)
			if st := must(d.stat(d.at("tensors/tensor-first-"+kind, "%")))(t); st.Size != 8 || st.Blocks*512 > 4096 {
				t.Errorf("%s: the tensor has %d bytes in %d blocks", kind, st.Size, st.Blocks)
			}
		}
		d.shell("mkdir " + d.model("mine") + " && cp " + from + " " + d.model("mine"))
		eventually(t, patience, "it is published", func() bool { return d.status().has("mine") })
		d.compareTensors("mine", ts)
		d.shell("rm -r " + d.model("mine"))
		d.run("evict", "--all")
		eventually(t, patience, "nothing is resident", func() bool { return d.status().Memory.Resident == 0 })
		d.end()

		d = p.start("--memory", fmt.Sprint(small))
		must(d.attach(d.model("full/model.safetensors")))(t)
		d.compareTensors("file-first-gguf", ts)
		if n := d.status().Counters.FallbackOpens; n == 0 {
			t.Error("the control: nothing was served by the origin")
		}
	})
}

func (d *daemon) wantFile(path string, want []byte) {
	d.t.Helper()
	if differs := d.difference(path, want); differs != "" {
		d.t.Errorf("%s: %s", path, differs)
	}
}
