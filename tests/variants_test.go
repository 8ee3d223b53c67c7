// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestVariants: tensors/<model>@f32 shows a model's floating-point tensors converted,
// loads each once, counts it, and is listed only when somebody has opened something
// of it or --variants names it.
// The control: the tensors as they are have other bytes and sizes.
func TestVariants(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		half := make([]byte, 2*small)
		want := make([]byte, 4*small)
		for i := range small {
			binary.LittleEndian.PutUint16(half[2*i:], 0x3c00|uint16(i%1024)) // 1 to 2
			binary.LittleEndian.PutUint32(want[4*i:], math.Float32bits(1+float32(i%1024)/1024))
		}
		ids := weights.Pattern(2, 80)
		p.write("org/m/model.safetensors", weights.Safetensors(
			weights.Tensor{Name: "layer/w", DType: "F16", Shape: []int64{small}, Data: half},
			weights.Tensor{Name: "ids", DType: "I64", Shape: []int64{10}, Data: ids},
		))
		p.write("n/model.safetensors", weights.Single(1, 10_000))
		d := p.start("--variants", "n@bf16")
		if got := d.names(d.at("tensors/org")); !slices.Equal(got, []string{"m"}) {
			t.Errorf("at first tensors/org lists %q", got)
		}
		if got := d.names(d.at("tensors")); !slices.Equal(got, []string{"n", "n@bf16", "org"}) {
			t.Errorf("tensors lists %q", got)
		}
		if got := d.names(d.at("tensors/org/m@f32")); !slices.Equal(got, []string{"ids", "ids.npy", "index.json", "layer"}) {
			t.Errorf("the variant lists %q", got)
		}
		if n := d.status().Memory.Resident; n != 0 {
			t.Errorf("listing loaded %d bytes", n)
		}
		path := d.at("tensors/org/m@f32/layer/w")
		for range 2 { // the second is a hit
			if got := must(d.read(path))(t); !bytes.Equal(got, want) {
				t.Errorf("%d bytes, or other ones than 1 to 2 as float32", len(got))
			}
		}
		if s := d.status(); s.Counters.Loads != 1 || s.Counters.Hits != 1 || s.Memory.Resident != 4*small {
			t.Errorf("%+v, resident %d", s.Counters, s.Memory.Resident)
		}
		if got := must(d.read(d.at("tensors/org/m/layer/w")))(t); !bytes.Equal(got, half) {
			t.Error("the control: as it is it has other bytes")
		}
		if got := d.names(d.at("tensors/org")); !slices.Equal(got, []string{"m", "m@f32"}) {
			t.Errorf("after an open tensors/org lists %q", got)
		}
		for name, value := range map[string]string{"dtype": "F32", "shape": "[1048576]", "strides": "[1]", "file": "-", "offset": "-"} {
			got, err := d.get(path, name)
			if value == "-" && !errors.Is(err, unix.ENODATA) || value != "-" && got != value {
				t.Errorf("%s is %q (%v), want %s", name, got, err, value)
			}
		}
		if got := must(d.read(d.at("tensors/org/m@f32/layer/w.npy")))(t); !bytes.Contains(got[:200], []byte("'<f4'")) || !bytes.Equal(got[4096:], want) {
			t.Error("as .npy it is something else")
		}
		if got := must(d.read(d.at("tensors/org/m@f32/ids")))(t); !bytes.Equal(got, ids) {
			t.Error("integers do not stay as they are")
		}
		index := string(must(d.read(d.at("tensors/org/m@bf16/index.json")))(t))
		for _, want := range []string{`"model": "org/m@bf16"`, `"dtype": "BF16"`, `"nbytes": 2097152, "file": null, "offset": null`, `"dtype": "I64"`} {
			if !strings.Contains(index, want) {
				t.Errorf("index.json has no %s", want)
			}
		}
		for _, none := range []string{"tensors/org/m@f64", "tensors/org/x@f32", "tensors/org@f32", "models/org/m@f32"} {
			if _, err := d.stat(d.at(none)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v, want ENOENT", none, err)
			}
		}
		eventually(t, patience, "du counts what a variant leaves as it is once", func() bool {
			return d.du("tensors") == d.status().Memory.Resident
		})
		if _, stderr, code := d.run("evict", "org/m"); code != 0 {
			t.Error(stderr)
		}
		if n := d.status().Memory.Resident; n != 0 {
			t.Errorf("after evict %d bytes are resident", n)
		}
	})
}

// names are what a folder lists, by name.
func (d *daemon) names(path string) []string {
	d.t.Helper()
	names := must(d.list(path))(d.t)
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	slices.Sort(names)
	return names
}
