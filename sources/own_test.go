// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/sources"
)

// TestOwn: a file that another one names is the model's own only if it is one file
// under one name in the model's folder.
func TestOwn(t *testing.T) {
	p := newPlace(t)
	p.files("src/m/config.json", "src/m/data.bin", "src/m/below/data.bin", "src/m/twice.bin", "src/other/secret", "outside/data.bin")
	p.link("../other/secret", "src/m/link.bin")
	p.link("data.bin", "src/m/link-inside.bin")
	p.link("/etc/passwd", "src/m/passwd.bin")
	p.link(p.path("outside"), "src/m/folder")
	p.link("nowhere", "src/m/dangling.bin")
	p.special(unix.S_IFIFO, "src/m/fifo.bin")
	p.check(os.Link(p.path("src/m/twice.bin"), p.path("src/other/twice.bin")))
	m := model(t, p.source("src"), "m")
	within(t, 5*time.Second, "looking at data files", func() {
		for rel, want := range map[string]error{
			"data.bin":          nil,
			"below/data.bin":    nil,
			"link.bin":          sources.ErrForeign,
			"link-inside.bin":   sources.ErrForeign,
			"passwd.bin":        sources.ErrForeign,
			"folder/data.bin":   sources.ErrForeign,
			"dangling.bin":      sources.ErrForeign,
			"fifo.bin":          sources.ErrForeign,
			"twice.bin":         sources.ErrForeign,
			"below":             sources.ErrForeign,
			"absent.bin":        fs.ErrNotExist,
			"../other/secret":   fs.ErrNotExist,
			"/etc/passwd":       fs.ErrNotExist,
			"below/../data.bin": fs.ErrNotExist,
			"":                  sources.ErrForeign,
		} {
			g, err := m.Own(rel)
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%q: %v, want %v", rel, err, want)
			}
			if now, _ := m.Generation(rel); err == nil && g != now {
				t.Errorf("%q is of generation %v, not %v", rel, g, now)
			}
		}
	})
}

// TestOwnInHub: the links of a snapshot to the repository's own blobs are taken, and
// no others.
func TestOwnInHub(t *testing.T) {
	p := newPlace(t)
	p.repo("models--org--m", "main=r1", "r1")
	p.files("models--org--m/blobs/0123", "models--org--m/blobs/below/0123", "models--org--n/blobs/4567", "elsewhere")
	snapshot := "models--org--m/snapshots/r1/"
	for name, target := range map[string]string{
		"data.bin":      "../../blobs/0123",
		"deep/data.bin": "../../../blobs/0123",
		"absolute.bin":  p.path("models--org--m/blobs/0123"),
		"other.bin":     "../../../models--org--n/blobs/4567",
		"below.bin":     "../../blobs/below/0123",
		"outside.bin":   "../../../elsewhere",
		"again.bin":     "data.bin",
		"to-a-link.bin": "../../blobs/link",
		"dangling.bin":  "../../blobs/absent",
	} {
		p.link(target, snapshot+name)
	}
	p.link("0123", "models--org--m/blobs/link")
	m := model(t, p.source(""), "org/m")
	for rel, ok := range map[string]bool{
		"data.bin": true, "deep/data.bin": true, "absolute.bin": false, "other.bin": false, "below.bin": false,
		"outside.bin": false, "again.bin": false, "to-a-link.bin": false, "dangling.bin": false,
	} {
		if _, err := m.Own(rel); (err == nil) != ok || !ok && !errors.Is(err, sources.ErrForeign) {
			t.Errorf("%s: %v, want it taken: %v", rel, err, ok)
		}
	}
}

// TestOwnBesideLooseFile: data of a file in a folder that several models share is in
// no list, and still the model's own.
func TestOwnBesideLooseFile(t *testing.T) {
	p := newPlace(t)
	p.files("src/a.onnx", "src/a.onnx_data", "src/weights.pb", "src/b.gguf")
	m := model(t, p.source("src"), "a")
	same(t, "files", listed(t, m, ""), []string{"a.onnx", "a.onnx_data"})
	if _, err := m.Own("weights.pb"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("as the model shows it: %v", err)
	}
	if _, err := m.Whole().Own("weights.pb"); err != nil {
		t.Error(err)
	}
	if content(t, m.Whole(), "weights.pb") != "src/weights.pb" {
		t.Error("other bytes")
	}
}
