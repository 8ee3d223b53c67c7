// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// One file and a list of shards: two checkpoints, which need two names.
func TestOneNameTwoCheckpoints(t *testing.T) {
	p := newPlace(t)
	p.write("m/model.safetensors", safetensors("whole"))
	p.write("m/a.safetensors", safetensors("half"))
	p.list("m/model.safetensors.index.json", map[string]string{"half": "a.safetensors"})
	m := p.model()
	seen := map[string]bool{}
	for _, cp := range checkpoints(t, m).All {
		if seen[cp.Name] {
			t.Errorf("two checkpoints are named %s", cp.Name)
		}
		seen[cp.Name] = true
	}
	// their indexes share one key, and one flight
	cps := checkpoints(t, m)
	for range 200 {
		ch := make(chan []string, 2)
		for _, file := range []string{"model.safetensors", "a.safetensors"} {
			go func() {
				ix, err := cps.Of(file).Index(context.Background())
				if err != nil {
					ch <- nil
					return
				}
				ch <- []string{file, tensors(ix)[0]}
			}()
		}
		for range 2 {
			if got := <-ch; len(got) == 2 && (got[0] == "model.safetensors") != (got[1] == "whole") {
				t.Fatalf("%s has the tensor %s", got[0], got[1])
			}
		}
	}
}

func TestShadowedBySameSource(t *testing.T) {
	p := newPlace(t)
	p.files("src/m.gguf", "src/m/w.gguf", "src/n.gguf", "src/n/below/w.gguf")
	c, _ := p.catalog("src")
	names(t, c)
	for _, s := range c.Shadowed() {
		if strings.Contains(s, "another source") {
			t.Errorf("there is one source, and status says: %s", s)
		}
	}
}

func TestLinkLoopInModel(t *testing.T) {
	p := newPlace(t)
	p.files("m/w.safetensors")
	p.check(os.Symlink(".", p.path("m/self")))
	if cps := checkpoints(t, p.model()); len(cps.All) != 1 || cps.Primary == nil {
		t.Errorf("%d checkpoints, primary %v", len(cps.All), cps.Primary)
	}
}

func TestSeriesNumbers(t *testing.T) {
	p := newPlace(t)
	p.write("m/w-00001-of-00002.safetensors", safetensors("a"))
	p.write("m/w-00003-of-00002.safetensors", safetensors("c"))
	if ix := index(t, p.model(), ""); ix.Err == nil {
		t.Error("shards 1 and 3 of 2 pass for whole")
	}
}

// Others of the first file may be the group that the second file keeps out.
func TestStatGroups(t *testing.T) {
	p := newPlace(t)
	p.check(errors.Join(os.Chmod(p.dir, 0o755), os.Chmod(p.path(".."), 0o755)))
	p.write("m/w-00001-of-00002.bin", nil)
	p.write("m/w-00002-of-00002.bin", nil)
	p.check(errors.Join(
		os.Chown(p.path("m/w-00001-of-00002.bin"), 0, 1), os.Chmod(p.path("m/w-00001-of-00002.bin"), 0o644),
		os.Chown(p.path("m/w-00002-of-00002.bin"), 0, 2), os.Chmod(p.path("m/w-00002-of-00002.bin"), 0o604)))
	st, err := checkpoint(t, p.model(), "").Stat(t.Context())
	p.check(err)
	if st.Mode&0o004 != 0 {
		t.Errorf("%d:%d %04o lets group 2 read, which may not read the second file", st.Uid, st.Gid, st.Mode)
	}
}
