// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLeftBehind: the folder of a server that was killed goes with the next one's start;
// those of servers that live, or are just starting, and what is somebody else's, do not.
func TestLeftBehind(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	alive, remove, err := unpack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(alive, "modelfs", "worker", "__main__.py")); err != nil {
		t.Error(err)
	}
	old := time.Now().Add(-time.Hour)
	make := func(name string, at time.Time) string {
		dir := filepath.Join(tmp, name)
		if err := os.MkdirAll(filepath.Join(dir, "modelfs"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	left := make(folderPrefix+"1", old)
	starting := make(folderPrefix+"2", time.Now())
	other := make("other", old)
	foreign := make(folderPrefix+"notes", old)
	if err := os.WriteFile(filepath.Join(foreign, "diary"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(foreign, old, old); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(tmp, folderPrefix+"3")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(alive, old, old); err != nil {
		t.Fatal(err)
	}
	_, removeToo, err := unpack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what was left behind is there")
	}
	for _, dir := range []string{alive, starting, filepath.Join(other, "modelfs"), filepath.Join(foreign, "modelfs"), link} {
		if _, err := os.Lstat(dir); err != nil {
			t.Error(err)
		}
	}
	remove()
	removeToo()
	if _, err := os.Stat(alive); err == nil {
		t.Error("it is there")
	}
}
