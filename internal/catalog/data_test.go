// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// onnx is a model with one tensor, "w", whose data lie in another file.
func onnx(location string) []byte {
	field := func(number byte, b ...byte) []byte { return append([]byte{number<<3 | 2, byte(len(b))}, b...) }
	entry := append(field(1, []byte("location")...), field(2, []byte(location)...)...)
	tensor := slices.Concat([]byte{1 << 3, tensorBytes, 2 << 3, 2}, field(8, 'w'), field(13, entry...), []byte{14 << 3, 1})
	return append([]byte{1 << 3, 8}, field(7, field(5, tensor...)...)...)
}

// TestDataKnown: a data file of any name is part of the checkpoint once somebody has
// read the header, and not before; what the index says is the same both times.
func TestDataKnown(t *testing.T) {
	for _, name := range []string{"w.data", "weights", "sub/w.raw"} {
		p := newPlace(t)
		p.files("m/config.json")
		p.write("m/sub/model.onnx", onnx(name))
		p.write("m/sub/"+name, make([]byte, tensorBytes))
		p.write("m/side.data", make([]byte, tensorBytes))
		p.unread("m/sub/model.onnx")
		m := p.model()
		data := "sub/" + name
		cp := checkpoint(t, m, "")
		if len(cp.Files) != 1 || m.Loads(data) || p.wasRead("m/sub/model.onnx") {
			t.Errorf("%s: unread, its files are %q", name, cp.Files)
		}
		whole, err := cp.Complete(t.Context())
		p.check(err)
		same(t, "files with "+name, whole.Files, []string{"sub/model.onnx", data})
		same(t, "headers with "+name, whole.Headers(), []string{"sub/model.onnx"})
		cps := checkpoints(t, m)
		if cps.Primary != whole || cps.Of(data) != whole || !m.Loads(data) || m.Loads("side.data") || len(cps.All) != 1 {
			t.Errorf("%s: afterwards there are %d checkpoints, of the data %v", name, len(cps.All), cps.Of(data))
		}
		if n := whole.Bytes(t.Context()); n != int64(len(onnx(name))+tensorBytes) {
			t.Errorf("%s: %d bytes", name, n)
		}
		ix := index(t, m, "")
		if ix.Err != nil || ix.Index.Tensors[0].File != data || len(ix.Files) != 2 {
			t.Errorf("%s: %+v", name, ix)
		}
		if again, err := whole.Complete(t.Context()); again != whole || err != nil {
			t.Errorf("%s: completed twice it is another one, %v", name, err)
		}
	}
}

// TestDataInDoubt: a file of no certain kind is no checkpoint if an ONNX model beside
// names it, and one if none does.
func TestDataInDoubt(t *testing.T) {
	for _, c := range []struct {
		names   string
		want    string // checkpoints and their files
		primary string
	}{
		{"weights.bin", "model.onnx: model.onnx weights.bin", "model.onnx"},
		{"below/w.BIN", "below/w.BIN: below/w.BIN, model.onnx: model.onnx, weights.bin: weights.bin", ""}, // it is a symlink
		{"other.data", "model.onnx: model.onnx, weights.bin: weights.bin", "weights.bin"},
		{"w.safetensors", "model.onnx: model.onnx w.safetensors, w.safetensors: w.safetensors, weights.bin: weights.bin", "w.safetensors"},
	} {
		p := newPlace(t)
		p.write("m/model.onnx", onnx(c.names))
		p.write("m/weights.bin", make([]byte, tensorBytes))
		switch c.names {
		case "below/w.BIN":
			p.files("m/below/x")
			p.check(os.Symlink("../weights.bin", p.path("m/below/w.BIN")))
		case "w.safetensors":
			p.files("m/w.safetensors")
		}
		cps := checkpoints(t, p.model())
		var got []string
		for _, cp := range cps.All {
			got = append(got, cp.Name+": "+strings.Join(cp.Files, " "))
		}
		primary := ""
		if cps.Primary != nil {
			primary = cps.Primary.Name
		}
		if strings.Join(got, ", ") != c.want || primary != c.primary {
			t.Errorf("%s is named: %q, primary %q, want %s, %q", c.names, got, primary, c.want, c.primary)
		}
	}
}

// TestDataChanges: a model that names another file has that one, a data file that goes
// is no part of it any more.
func TestDataChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("m/a.bin", make([]byte, tensorBytes))
		p.write("m/b.data", make([]byte, tensorBytes))
		m := p.model()
		for _, c := range []struct{ names, want string }{
			{"a.bin", "model.onnx a.bin"}, {"b.data", "model.onnx b.data"}, {"a.bin", "model.onnx a.bin"},
		} {
			p.replace("m/model.onnx", onnx(c.names))
			time.Sleep(2 * time.Second)
			if ix := index(t, m, "model.onnx"); ix.Err != nil {
				t.Error(ix.Err)
			}
			if cp := checkpoint(t, m, "model.onnx"); strings.Join(cp.Files, " ") != c.want {
				t.Errorf("%s is named: the files are %q", c.names, cp.Files)
			}
			if named := checkpoints(t, m).Of("a.bin").Name; (named == "model.onnx") != (c.names == "a.bin") {
				t.Errorf("%s is named: a.bin is of the checkpoint %s", c.names, named)
			}
		}
		p.remove("m/a.bin")
		time.Sleep(2 * time.Second)
		if cp := checkpoint(t, m, "model.onnx"); len(cp.Files) != 1 {
			t.Errorf("without the data the files are %q", cp.Files)
		}
		saysAll(t, index(t, m, "model.onnx").Err, "a.bin")
	})
}
