// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/workers"
)

// TestFind: a caller may have a model loaded by its name, by no other path to it, and
// hears of no files but its own.
func TestFind(t *testing.T) {
	mount := t.TempDir()
	for _, name := range []string{"models/a/x.onnx", "models/org/b/x.onnx", "models/org/b/y.onnx"} {
		path := filepath.Join(mount, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &serving{cfg: Config{Mount: mount, Handlers: 1}}
	if c, err := s.find("a"); err != nil || c.Name != "a" {
		t.Errorf("%+v %v", c, err)
	}
	for _, name := range []string{"", ".", "./a", "a/", "a/.", "a//", "org/../a", "..", "/a", "../models/a", "none"} {
		if _, err := s.find(name); !errors.Is(err, workers.ErrNoModel) || strings.Contains(err.Error(), ".onnx=") || strings.Contains(err.Error(), "y.onnx") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
