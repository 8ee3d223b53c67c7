// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"crypto/sha256"
	"encoding/hex"
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
