// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestFolders: which folders of a tree are models. Every tree also holds the model
// control, so that nothing found is not a scan that failed.
func TestFolders(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		want  []string
	}{
		{"a weight file", []string{"a/w.safetensors", "b/w.gguf", "c/w.pt", "d/w.onnx", "e/w.npz", "f/W.SafeTensors"}, []string{"a", "b", "c", "d", "e", "f"}},
		{"config.json", []string{"a/config.json", "b/model_index.json"}, []string{"a", "b"}},
		{"what makes none", []string{"a/readme.md", "b/tokenizer.json", "c/Config.json", "d/config.json.bak", "e/safetensors", "f/w.safetensors.index.json", "g/"}, nil},
		{"what training leaves", []string{"a/optimizer.pt", "b/training_args.bin", "c/rng_state_0.pth"}, nil},
		{"nested", []string{"org/a/w.pt", "org/b/w.pt", "x/y/z/w.pt"}, []string{"org/a", "org/b", "x/y/z"}},
		{"the topmost", []string{"pipe/model_index.json", "pipe/unet/config.json", "pipe/unet/w.pt", "pipe/a/b/c/w.gguf"}, []string{"pipe"}},
		{"the topmost that holds it itself", []string{"pair/readme.md", "pair/x/w.pt", "pair/y/deep/w.pt", "pair/y/w.onnx"}, []string{"pair/x", "pair/y"}},
		{"hidden folders", []string{".git/config.json", "a/.cache/w.pt", "b/.c/d/w.pt", ".w/x/w.pt"}, nil},
		{"hidden files", []string{"a/.w.safetensors", "b/.config.json", ".w.gguf"}, nil},
		{"a model with hidden files", []string{"a/.cache/w.pt", "a/.w.pt", "a/w.pt"}, []string{"a"}},
		{"folders named as files", []string{"a/w.safetensors/readme", "b/config.json/readme", "w.gguf/readme"}, nil},
		{"a folder named as a weight file", []string{"llama.gguf/w.gguf"}, []string{"llama.gguf"}},
		{"loose files", []string{"foo.gguf", "bar.v1.0.safetensors", "no-extension", "readme.txt", "BIG.ONNX"}, []string{"BIG", "bar.v1.0", "foo"}},
		{"loose shards", []string{"big-00001-of-00002.safetensors", "big-00002-of-00002.safetensors", "other-1-of-2.gguf"}, []string{"big", "other-1-of-2"}},
		{"loose files of one name", []string{"m.gguf", "m.safetensors", "m-00001-of-00001.pt"}, []string{"m"}},
		{"deep", []string{"1/2/3/4/5/6/7/8/9/w.pt"}, []string{"1/2/3/4/5/6/7/8/9"}},
		{"by name", []string{"b/w.pt", "a.pt", "a-b/w.pt", "a/w.pt/", "a/x/w.pt", "a0/w.pt"}, []string{"a", "a-b", "a/x", "a0", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.files(c.files...)
			p.files("control/config.json")
			want := append([]string{"control"}, c.want...)
			slices.Sort(want)
			same(t, "models", names(t, p.source("")), want)
		})
	}
}

// Names are bytes to a filesystem: whatever it holds can be found and opened.
func TestFolderNames(t *testing.T) {
	for _, name := range []string{
		"with space", " leading", "trailing ", "new\nline", "tab\t", "quote'\"", `back\slash`, "%41", "%", "-rf", "~", "a:b",
		"日本語", "e\u0301", "\u00e9", "🤖", "a..b", "..a", strings.Repeat("long", 60), "*?[]", "\x7f\x01",
	} {
		p := newPlace(t)
		p.files(name+"/w.safetensors", "org/"+name+"/config.json", "in/config.json", "in/"+name+"/"+name, name+".gguf")
		s := p.source("")
		want := []string{name, "in", "org/" + name}
		if !strings.HasPrefix(name, ".") {
			want = append(want, name) // and the loose file
		} else {
			want = []string{"in"}
		}
		slices.Sort(want)
		same(t, "models", names(t, s), want)
		if got, want := content(t, model(t, s, "in"), name+"/"+name), "in/"+name+"/"+name; got != want {
			t.Errorf("%q: read %q", name, got)
		}
	}
}

// Two names that look alike are two names.
func TestFolderNamesUnnormalised(t *testing.T) {
	p := newPlace(t)
	p.files("caf\u00e9/w.pt", "cafe\u0301/w.pt")
	s := p.source("")
	same(t, "models", names(t, s), []string{"cafe\u0301", "caf\u00e9"})
	for _, name := range names(t, s) {
		if got := content(t, model(t, s, name), "w.pt"); got != name+"/w.pt" {
			t.Errorf("%q: read %q", name, got)
		}
	}
}

// Loose files of one name are one model, which holds them and nothing else.
func TestLooseFiles(t *testing.T) {
	p := newPlace(t)
	p.files("m.gguf", "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors", "m.safetensors.index.json",
		"n.gguf", "n.txt", "m.txt", "folder/w.pt", "other.safetensors.index.json")
	s := p.source("")
	m, n := model(t, s, "m"), model(t, s, "n")
	same(t, "m", listed(t, m, ""), []string{"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors", "m.gguf", "m.safetensors.index.json"})
	same(t, "n", listed(t, n, ""), []string{"n.gguf"})
	if got := content(t, m, "m.gguf"); got != "m.gguf" {
		t.Errorf("m.gguf holds %q", got)
	}
	for _, rel := range []string{"n.gguf", "m.txt", "folder", "folder/w.pt", "other.safetensors.index.json"} {
		absent(t, m, rel)
	}
	if !stat(t, m, "").Folder {
		t.Error("the model itself is no folder")
	}
}

func TestSingleFile(t *testing.T) {
	p := newPlace(t)
	p.files("m.gguf", "m.safetensors", "n.gguf", "config.json")
	s := p.source("m.gguf")
	m := model(t, s, "m")
	same(t, "files", listed(t, m, ""), []string{"m.gguf"})
	absent(t, m, "m.safetensors")
	absent(t, m, "config.json")
	p.remove("m.gguf")
	if models, err := s.Scan(t.Context()); !errors.Is(err, fs.ErrNotExist) || len(models) != 0 {
		t.Errorf("without its file: %d models, error %v", len(models), err)
	}
	p.write("m.gguf", "back")
	if got := content(t, model(t, s, "m"), "m.gguf"); got != "back" {
		t.Errorf("read %q", got)
	}
}

// FIFOs, sockets, devices and links that lead nowhere make no model.
func TestFolderSpecialFiles(t *testing.T) {
	p := newPlace(t)
	for kind, name := range map[uint32]string{unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket", unix.S_IFCHR: "device"} {
		if kind == unix.S_IFCHR && os.Geteuid() != 0 {
			continue
		}
		p.special(kind, name+"/config.json")
		p.special(kind, name+"/w.safetensors")
		p.special(kind, name+".gguf")
		p.link(name+".gguf", name+"-link.gguf")
		p.link("../"+name+".gguf", name+"-link/w.gguf")
	}
	p.link("nowhere", "dangling.gguf")
	p.link("nowhere", "dangling/config.json")
	p.link("w.gguf", "circle/w.gguf")
	p.link("nowhere", "gone")
	p.files("control/config.json")
	within(t, 5*time.Second, "a scan of special files", func() {
		same(t, "models", names(t, p.source("")), []string{"control"})
	})
}

// Symlinks are followed, in the tree and out of it.
func TestFolderLinks(t *testing.T) {
	p := newPlace(t)
	p.files("src/real/w.pt", "outside/model/config.json", "outside/model/sub/w.pt", "outside/w.gguf", "outside/tree/a/w.pt", "outside/plain.txt")
	p.link("real", "src/alias")
	p.link("../outside/model", "src/relative")
	p.link(p.path("outside/model"), "src/absolute")
	p.link("../outside/w.gguf", "src/loose.gguf")
	p.link("../outside/w.gguf", "src/not-a-weight-name")
	p.link("../outside/plain.txt", "src/by-its-own-name.gguf")
	p.link("../outside/tree", "src/tree")
	p.link("../../outside/w.gguf", "src/holder/w.gguf")
	s := p.source("src")
	same(t, "models", names(t, s), []string{"absolute", "alias", "by-its-own-name", "holder", "loose", "real", "relative", "tree/a"})
	for name, rel := range map[string]string{"alias": "w.pt", "relative": "sub/w.pt", "absolute": "sub/w.pt", "loose": "loose.gguf", "holder": "w.gguf", "tree/a": "w.pt"} {
		if got := content(t, model(t, s, name), rel); !strings.HasSuffix(got, rel[strings.LastIndexByte(rel, '/')+1:]) && got != "outside/w.gguf" {
			t.Errorf("%s/%s holds %q", name, rel, got)
		}
	}
}

// A loop of links ends, and hides nothing beside it.
func TestFolderLinkLoop(t *testing.T) {
	p := newPlace(t)
	p.files("a/model/w.pt", "control/config.json")
	p.link("..", "a/up")
	p.link("self", "self")
	p.link("pong", "ping")
	p.link("ping", "pong")
	within(t, 5*time.Second, "a scan of a loop", func() {
		got := names(t, p.source(""))
		if !slices.Contains(got, "a/model") || !slices.Contains(got, "control") {
			t.Errorf("models: %.20q", got)
		}
	})
}

func TestScanInterrupted(t *testing.T) {
	p := newPlace(t)
	p.files("a/w.pt", "b/w.pt")
	s := p.source("")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Scan(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	same(t, "models afterwards", names(t, s), []string{"a", "b"})
}

func TestScanSourceGone(t *testing.T) {
	for kind, files := range map[string][]string{"folder": {"s/a/w.pt"}, "model": {"s/config.json"}, "huggingface": {"s/models--a/snapshots/r/w.pt"}} {
		p := newPlace(t)
		p.files(files...)
		s := p.source("s")
		if n := len(names(t, s)); s.Kind() != kind || n != 1 {
			t.Fatalf("a %s with %d models, want a %s", s.Kind(), n, kind)
		}
		p.rename("s", "away")
		if models, err := s.Scan(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), p.path("s")) || len(models) != 0 {
			t.Errorf("%s: %d models, error %v", kind, len(models), err)
		}
		p.rename("away", "s")
		if n := len(names(t, s)); n != 1 {
			t.Errorf("%s: %d models when it is back", kind, n)
		}
	}
}

// scanChanges are what happens to the tree of TestScanAgain, one after the other.
var scanChanges = []struct {
	name string
	do   func(p *place)
	want []string
}{
	{"nothing", func(*place) {}, []string{"a", "deep/er/m", "loose", "org/b"}},
	{"a model more", func(p *place) { p.files("new/w.pt") }, []string{"a", "deep/er/m", "loose", "new", "org/b"}},
	{"one more deep down", func(p *place) { p.files("deep/er/n/w.pt") }, []string{"a", "deep/er/m", "deep/er/n", "loose", "new", "org/b"}},
	{"a weight file in a folder that was there", func(p *place) { p.files("plain/w.pt") }, []string{"a", "deep/er/m", "deep/er/n", "loose", "new", "org/b", "plain"}},
	{"a model less", func(p *place) { p.remove("new") }, []string{"a", "deep/er/m", "deep/er/n", "loose", "org/b", "plain"}},
	{"a model without its weight file", func(p *place) { p.remove("plain/w.pt") }, []string{"a", "deep/er/m", "deep/er/n", "loose", "org/b"}},
	{"a folder above becomes a model", func(p *place) { p.files("deep/config.json") }, []string{"a", "deep", "loose", "org/b"}},
	{"and is none again", func(p *place) { p.remove("deep/config.json") }, []string{"a", "deep/er/m", "deep/er/n", "loose", "org/b"}},
	{"renamed", func(p *place) { p.rename("org", "firm") }, []string{"a", "deep/er/m", "deep/er/n", "firm/b", "loose"}},
	{"a folder in place of another", func(p *place) {
		p.files("other/c/w.pt")
		p.rename("firm", "gone-firm")
		p.rename("other", "firm")
		p.remove("gone-firm")
	}, []string{"a", "deep/er/m", "deep/er/n", "firm/c", "loose"}},
	{"a loose file less", func(p *place) { p.remove("loose.gguf") }, []string{"a", "deep/er/m", "deep/er/n", "firm/c"}},
	{"a folder becomes a link", func(p *place) { p.remove("deep"); p.link("firm", "deep") }, []string{"a", "deep/c", "firm/c"}},
	{"a model behind the link", func(p *place) { p.files("firm/d/w.pt") }, []string{"a", "deep/c", "deep/d", "firm/c", "firm/d"}},
	{"a file that a link names", func(p *place) { p.link("../target", "linked/w.pt"); p.link("../target", "twice/w.pt") }, []string{"a", "deep/c", "deep/d", "firm/c", "firm/d"}},
	{"appears", func(p *place) { p.files("target") }, []string{"a", "deep/c", "deep/d", "firm/c", "firm/d", "linked", "twice"}},
	{"and goes", func(p *place) { p.remove("target") }, []string{"a", "deep/c", "deep/d", "firm/c", "firm/d"}},
	{"the source itself becomes one", func(p *place) { p.files("config.json") }, nil},
	{"and is none again", func(p *place) { p.remove("config.json") }, []string{"a", "deep/c", "deep/d", "firm/c", "firm/d"}},
}

// TestScanAgain: a scan sees what changed since the one before, by the clock in the
// years before the folders changed, and long after.
func TestScanAgain(t *testing.T) {
	for name, wait := range map[string]time.Duration{"changed just now": 0, "still for years": 100 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(wait) // the bubble begins in 2000
				p := newPlace(t)
				p.files("a/w.pt", "org/b/config.json", "deep/er/m/w.pt", "loose.gguf", "plain/readme.txt")
				p.age()
				s := p.source("")
				for _, c := range scanChanges {
					p.tick()
					c.do(p)
					want := c.want
					if want == nil {
						want = []string{p.dir[strings.LastIndexByte(p.dir, '/')+1:]}
					}
					same(t, c.name, names(t, s), want)
					time.Sleep(time.Minute)
					same(t, c.name+", later", names(t, s), want)
				}
			})
		})
	}
}

// A model found earlier stays usable, and shows what is there now.
func TestModelOutlivesScan(t *testing.T) {
	p := newPlace(t)
	p.files("m/config.json", "m/sub/x")
	s := p.source("")
	m := model(t, s, "m")
	p.files("m/later")
	p.remove("m/sub")
	same(t, "files", listed(t, m, ""), []string{"config.json", "later"})
	p.remove("m")
	same(t, "models", names(t, s), []string{})
	for _, rel := range []string{"", "config.json"} {
		if _, err := m.Stat(rel); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat of %q of a model that is gone: %v", rel, err)
		}
	}
}
