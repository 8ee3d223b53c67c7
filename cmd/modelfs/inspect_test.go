// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const shipped = "demo/silero_vad/silero_vad_16k.safetensors"

func TestInspect(t *testing.T) {
	golden(t, "inspect", newFixture(t).succeed(t, "inspect", shipped))
}

// TestInspectJSON: it is an index.json, and its places are those of the bytes.
func TestInspectJSON(t *testing.T) {
	var index struct {
		indexReport
		Tensors []struct {
			Name, Path, DType, File string
			Shape, Strides          []int64
			NBytes, Offset          int64
			Contiguous              bool
		} `json:"tensors"`
	}
	if err := json.Unmarshal([]byte(newFixture(t).succeed(t, "inspect", shipped, "--json")), &index); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(shipped)
	if err != nil {
		t.Fatal(err)
	}
	if len(index.Tensors) == 0 || index.Error != nil || index.Generation == "" {
		t.Fatalf("%+v", index)
	}
	for _, tensor := range index.Tensors {
		if tensor.File != filepath.Base(shipped) || tensor.Offset+tensor.NBytes > st.Size() || tensor.NBytes <= 0 || tensor.DType != "F32" {
			t.Errorf("%+v", tensor)
		}
	}
}

// TestInspectMalformed: exit 1, and where it is wrong.
func TestInspectMalformed(t *testing.T) {
	whole, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut.safetensors")
	if err := os.WriteFile(path, whole[:1000], 0o644); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	if got := f.fail(t, 1, "inspect", path); !strings.Contains(got, "malformed") || !strings.Contains(got, "byte") {
		t.Error(got)
	}
	code, text, _ := f.invoke("inspect", "--json", path)
	var index indexReport
	if err := json.Unmarshal([]byte(text), &index); err != nil || code != 1 || index.Error == nil || len(index.Tensors) != 0 {
		t.Errorf("exit %d, %v: %s", code, err, text)
	}
}

// TestInspectModels: a model's folder, one with or without config.json, and a
// folder of several.
func TestInspectModels(t *testing.T) {
	f := newFixture(t)
	source := t.TempDir()
	whole, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/model.safetensors", "a/config.json", "b/model.safetensors", "org/c/q4.safetensors", "org/c/q8.safetensors"} {
		path := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b"} {
		if got := f.succeed(t, "inspect", filepath.Join(source, name)); !strings.Contains(got, "\n"+name+": ") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := f.fail(t, 1, "inspect", source); !strings.Contains(got, "holds 3 models, name one of them: a, b, org/c") {
		t.Error(got)
	}
	f.env["MODELFS_MODELS"] = source
	f.succeed(t, "inspect", "b")
	f.succeed(t, "inspect", "org/c/q8.safetensors")
	if got := f.fail(t, 1, "inspect", "org/c"); !strings.Contains(got, "name one: q4.safetensors, q8.safetensors") {
		t.Error(got)
	}
	if got := f.fail(t, 1, "inspect", "nothing"); !strings.Contains(got, "no such file, and no such model: nothing") {
		t.Error(got)
	}
}

// TestInspectInMount: a model of the mount is read there.
func TestInspectInMount(t *testing.T) {
	f := newFixture(t)
	f.write(t, "tensors/openai/whisper-base/index.json", `{"model": "openai/whisper-base", "generation": "g", "tensors": [
		{"name": "w", "path": "w", "dtype": "F32", "shape": [2, 3], "strides": [3, 1], "nbytes": 24, "file": "m.safetensors", "offset": 80, "contiguous": true},
		{"name": "z", "path": "z", "dtype": "F16", "shape": [], "strides": [], "nbytes": 2, "file": null, "offset": null, "contiguous": true}], "error": null}`)
	golden(t, "inspect_mount", f.succeed(t, "inspect", "openai/whisper-base"))
}
