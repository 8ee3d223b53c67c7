// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"bytes"
	"crypto/sha256"
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

// reference is what onnx reads of a file.
type reference struct {
	File    string
	Tensors []struct {
		Name, Type, SHA256 string
		Shape              []int64
		Bytes              int64
	}
	Findings int
	Error    string
}

// TestWithONNX compares every name, type, shape and byte with onnx's, for models
// that it writes and for real ones.
func TestWithONNX(t *testing.T) {
	python := pythontest.Find(t, "onnx")
	real, err := exec.Command(python, "-c", "import importlib.util as u; print(u.find_spec('silero_vad').submodule_search_locations[0])").Output()
	var files []string
	if err == nil {
		files, _ = filepath.Glob(filepath.Join(strings.TrimSpace(string(real)), "data", "*.onnx"))
	}
	if len(files) < 6 {
		t.Logf("silero_vad is not installed with this Python: %d real files", len(files))
	}
	cmd := exec.Command(python, append([]string{"testdata/write.py", t.TempDir()}, files...)...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []reference
	if err := json.Unmarshal(text, &want); err != nil || len(want) < 50+len(files) {
		t.Fatalf("%d models, %v", len(want), err)
	}
	for _, ref := range want {
		t.Run(filepath.Base(ref.File), func(t *testing.T) { compare(t, ref) })
	}
}

// TestDamagedWithONNX flips every bit of a model: what is taken is what onnx reads.
func TestDamagedWithONNX(t *testing.T) {
	python := pythontest.Find(t, "onnx")
	file := join(sub(25, str(1, "f"), sub(7, str(2, "c"), str(4, "Constant"), attr("value_int", num(20, 2), num(3, 1)))), model(
		simple("a"),
		op(str(2, "y"), str(3, "n"), str(4, "If"), attr("g", num(20, 5), sub(6, simple("a"), constant("b", "value_floats", num(20, 6), tag(7, 5), f32(1), sub(7, f32(2)))))),
		initial(dims(2), typ(6), named("c"), sub(5, packed(-1, 300))),
		initial(dims(2), typ(10), num(5, 7), num(5, 8), named("d")),
		initial(dims(4), typ(22), raw(zeros(2)), named("f")),
		initial(dims(1), typ(7), named("h"), num(7, -1)),
		initial(dims(1, 2), typ(2), named("i"), sub(5, packed(7, 8))),
		initial(sub(1, packed(1, 1)), typ(14), named("j"), sub(4, f32(7, 8))),
		initial(dims(2), typ(12), named("k"), num(11, 1<<32-1), num(11, 5)),
	)).b
	folder := t.TempDir()
	for i := 0; i < len(file)*8; i += 3 {
		flipped := slices.Clone(file)
		flipped[i/8] ^= 1 << (i % 8)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%05d.onnx", i)), flipped, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, "testdata/write.py", "-", folder)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []reference
	if err := json.Unmarshal(text, &want); err != nil || len(want) < len(file)*2 {
		t.Fatalf("%d models, %v", len(want), err)
	}
	agreed, lenient := 0, 0
	for _, ref := range want {
		flipped, err := os.ReadFile(ref.File)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(bytes.NewReader(flipped), int64(len(flipped))); err != nil {
			continue
		}
		if strings.HasPrefix(ref.Error, "UnicodeError") || strings.HasPrefix(ref.Error, "DecodeError") {
			lenient++ // names are as the file has them, text or not; what is passed over is not decoded
			continue
		}
		if ref.Error != "" {
			t.Errorf("%s is taken, and onnx says %s", ref.File, ref.Error)
			continue
		}
		agreed++
		compare(t, ref)
	}
	if agreed < len(want)/10 || lenient > len(want)/20 {
		t.Errorf("of %d models %d are taken, and %d that onnx cannot decode", len(want), agreed, lenient)
	}
}

func compare(t *testing.T, want reference) {
	folder, name := filepath.Split(want.File)
	file, err := os.ReadFile(want.File)
	if err != nil {
		t.Fatal(err)
	}
	ix, err := Parse(name, bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if len(ix.Findings) != want.Findings || len(ix.Tensors) != len(want.Tensors) {
		t.Errorf("%d tensors and %d findings %v, want %d and %d", len(ix.Tensors), len(ix.Findings), ix.Findings, len(want.Tensors), want.Findings)
	}
	got := make(map[string]tensors.Tensor)
	for _, ts := range ix.Tensors {
		got[ts.Name] = ts
	}
	for _, w := range want.Tensors {
		ts, ok := got[w.Name]
		if !ok || ts.DType.String() != w.Type || !slices.Equal(ts.Shape, w.Shape) || ts.NBytes != w.Bytes {
			t.Errorf("%q: %+v, want %+v", w.Name, ts, w)
			continue
		}
		data := content(t, folder, ts)
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != w.SHA256 {
			t.Errorf("%q of %s%v: other bytes: %.100x", w.Name, w.Type, w.Shape, data)
		}
	}
}

// content reads a tensor as everybody else does.
func content(t *testing.T, folder string, ts tensors.Tensor) []byte {
	t.Helper()
	data := bytes.Repeat([]byte{0xa5}, int(ts.NBytes))
	f, err := os.Open(filepath.Join(folder, filepath.FromSlash(ts.File)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if ts.Maker != nil {
		err = ts.Maker.Make(t.Context(), f, data)
	} else if _, err = f.ReadAt(data, ts.Offset); errors.Is(err, io.EOF) && ts.NBytes == 0 {
		err = nil
	}
	if err != nil {
		t.Errorf("%q: %v", ts.Name, err)
	}
	return data
}
