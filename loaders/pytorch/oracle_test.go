// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/modelfs/modelfs/internal/pythontest"
	"github.com/modelfs/modelfs/tensors"
)

// oracle is what torch reads from one file.
type oracle struct {
	File    string
	Tensors []struct {
		Name, DType string
		Shape       []int64
		Strides     []int64
		SHA256      string
	}
	Refused  bool
	Findings bool // classes and code are none of torch's list
	More     bool // a state dict leaves out other attributes and constants
}

// TestOracle compares names, shapes, types, strides and all bytes with what torch
// itself reads from what it wrote.
func TestOracle(t *testing.T) {
	python := pythontest.Find(t, "torch")
	dir := t.TempDir()
	cmd := exec.Command(python, "testdata/oracle.py", dir)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var files []oracle
	if err := json.Unmarshal(text, &files); err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Errorf("%d files are too few for this test", len(files))
	}
	for _, o := range files {
		t.Run(o.File, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join(dir, o.File))
			if err != nil {
				t.Fatal(err)
			}
			ix, err := parse.Look(t, file, int64(len(file)))
			if (err != nil) != o.Refused {
				t.Fatalf("it gives %v, torch reads it: %v", err, !o.Refused)
			}
			if err != nil {
				t.Log(err)
				return
			}
			check(t, ix, int64(len(file)))
			if len(ix.Findings) > 0 != o.Findings {
				t.Errorf("the findings %+v", ix.Findings)
			}
			compare(t, ix, file, o)
		})
	}
}

func compare(t *testing.T, ix *tensors.Index, file []byte, o oracle) {
	t.Helper()
	if len(ix.Tensors) != len(o.Tensors) && !o.More {
		t.Errorf("%d tensors, torch reads %d", len(ix.Tensors), len(o.Tensors))
	}
	byName := make(map[string]*tensors.Tensor)
	for i := range ix.Tensors {
		byName[ix.Tensors[i].Name] = &ix.Tensors[i]
	}
	for i, want := range o.Tensors {
		got := byName[want.Name]
		if got == nil {
			t.Errorf("no tensor %q, there is %q", want.Name, ix.Tensors[min(i, len(ix.Tensors)-1)].Name)
			continue
		}
		if got.DType.String() != want.DType || !slices.Equal(got.Shape, want.Shape) {
			t.Errorf("%q: %s%v, torch reads %s%v", want.Name, got.DType, got.Shape, want.DType, want.Shape)
		}
		if got.Maker == nil && !slices.Equal(got.Strides, want.Strides) {
			t.Errorf("%q: the strides %v, torch reads %v", want.Name, got.Strides, want.Strides)
		}
		sum := sha256.Sum256(content(t, file, got))
		if hex.EncodeToString(sum[:]) != want.SHA256 {
			t.Errorf("%q: other bytes than torch reads", want.Name)
		}
	}
}

// content is a tensor's row-major bytes, made as the mount makes them.
func content(t *testing.T, file []byte, ts *tensors.Tensor) []byte {
	t.Helper()
	dst := bytes.Repeat([]byte{0xa5}, int(ts.NBytes))
	fill := func() error { return tensors.Gather(context.Background(), dst, bytes.NewReader(file), ts) }
	if ts.Maker != nil {
		fill = func() error { return ts.Maker.Make(context.Background(), bytes.NewReader(file), dst) }
	}
	if err := fill(); err != nil {
		t.Errorf("%q: %v", ts.Name, err)
	}
	return dst
}
