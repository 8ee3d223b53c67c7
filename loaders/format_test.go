// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package loaders

import (
	"bytes"
	"cmp"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	for name, want := range map[string]string{
		"model.safetensors":                "safetensors",
		"model-00001-of-00002.safetensors": "safetensors",
		"x/y/MODEL.SafeTensors":            "safetensors",
		"a.gguf":                           "GGUF",
		"a.b.GGUF":                         "GGUF",
		"a.pt":                             "PyTorch",
		"a.pth":                            "PyTorch",
		"pytorch_model.bin":                "PyTorch",
		"a.ckpt":                           "PyTorch",
		"a.onnx":                           "ONNX",
		"a.npy":                            "NPY",
		"a.npz":                            "NPZ",
		"a.keras":                          "Keras",
		"a.h5":                             "Keras",
		"a.weights.h5":                     "Keras",
		"a.hdf5":                           "Keras",
		"a.tflite":                         "TFLite",
		"a.msgpack":                        "Flax",
		"a.ggml":                           "GGML",
		"optimizer.pt/a.gguf":              "GGUF",
		".x/a.gguf":                        "GGUF",
		"my_optimizer.pt":                  "PyTorch",
		"optimizer.safetensors":            "safetensors",
		"":                                 "",
		"a":                                "",
		"gguf":                             "",
		"a.txt":                            "",
		"a.gguf.part":                      "",
		"a.gguf/":                          "GGUF", // a path, cleaned
		"model.safetensors.index.json":     "",
		".gguf":                            "",
		".a.gguf":                          "",
		"x/.a.gguf":                        "",
		"training_args.bin":                "",
		"x/Optimizer.PT":                   "",
		"optimizer.bin":                    "",
		"scheduler.pt":                     "",
		"scheduler.bin":                    "",
		"scaler.pt":                        "",
		"random_states_0.pkl":              "",
		"rng_state.pth":                    "",
		"rng_state_7.pth":                  "",
	} {
		f, ok := Of(name)
		if f.Name != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", name, f.Name, ok, want)
		}
	}
}

// TestFormats: names and extensions are those of one format each, and the best
// come first. The list that a caller gets is its own.
func TestFormats(t *testing.T) {
	all := Formats()
	seen := map[string]bool{}
	for _, f := range all {
		if seen[f.Name] || f.Name == "" || len(f.Extensions) == 0 {
			t.Errorf("%+v", f)
		}
		seen[f.Name] = true
		for _, ext := range f.Extensions {
			if seen[ext] || ext != strings.ToLower(ext) || path.Ext("x"+ext) != ext {
				t.Errorf("%s: the extension %q", f.Name, ext)
			}
			seen[ext] = true
		}
	}
	if !slices.IsSortedFunc(all, func(a, b Format) int { return cmp.Compare(a.Rank, b.Rank) }) {
		t.Error("the formats are not sorted by rank")
	}
	all[0] = Format{}
	if Formats()[0].Name != "safetensors" {
		t.Error("a caller changed the list")
	}
}

// TestParse: the extension says the format, whatever the bytes are.
func TestParse(t *testing.T) {
	safetensors := []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}")
	ix, err := Parse("x/a.SAFETENSORS", bytes.NewReader(safetensors), int64(len(safetensors)))
	if err != nil || len(ix.Tensors) != 0 {
		t.Errorf("%+v, %v", ix, err)
	}
	for _, f := range Formats() {
		for _, ext := range f.Extensions {
			_, err := Parse("a"+ext, strings.NewReader("wrong"), 5)
			var wrong *FormatError
			switch {
			case f.Parse == nil:
				want := f.Name + ": format is not read: its tensors are not shown, the file itself is under models/"
				if f.Instead != "" {
					want += "; " + f.Instead
				}
				if !errors.Is(err, ErrUnsupported) || err.Error() != want || len(want) > 600 {
					t.Errorf("%s: %v, want %s", ext, err, want)
				}
			case !errors.As(err, &wrong) || wrong.Format != f.Name:
				t.Errorf("%s: %v", ext, err)
			}
		}
	}
	_, err = Parse("a.txt", bytes.NewReader(safetensors), int64(len(safetensors)))
	if want := "a.txt: not a weight file, by its name"; !errors.Is(err, ErrNotWeights) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
