// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// link makes a symlink below the source.
func (p *place) link(target, name string) {
	p.t.Helper()
	path := filepath.Join(p.models, name)
	p.folder(filepath.Join("src", filepath.Dir(name)))
	if err := errors.Join(os.Symlink(target, path), os.Lchown(path, p.mode.uid, p.mode.uid)); err != nil {
		p.t.Fatal(err)
	}
}

// modelNames are the names of all models, as status.json has them.
func (d *daemon) modelNames() []string {
	d.t.Helper()
	var names []string
	for _, m := range d.status().Models {
		names = append(names, m.Name)
	}
	return names
}

// TestHubCache: the Hugging Face cache is shown as org/name at the revision of
// refs/main, its symlinks to blobs as regular files; another revision is another
// content as soon as the reference says so.
// The control: on disk they are symlinks, and the two revisions differ.
func TestHubCache(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		one, two := weights.Single(1, small), weights.Single(2, 2*small)
		repo := "models--org--name"
		p.write(repo+"/blobs/b1", one)
		p.write(repo+"/blobs/b2", two)
		p.write(repo+"/blobs/c", []byte(`{"model_type":"x"}`))
		for rev, blob := range map[string]string{"rev1": "b1", "rev2": "b2"} {
			p.link("../../blobs/"+blob, repo+"/snapshots/"+rev+"/model.safetensors")
			p.link("../../blobs/c", repo+"/snapshots/"+rev+"/config.json")
			p.link("../../../blobs/c", repo+"/snapshots/"+rev+"/sub/config.json")
		}
		p.write(repo+"/refs/main", []byte("rev1"))
		p.write("models--alone/snapshots/r/model.safetensors", one)
		p.write("datasets--org--data/snapshots/r/x.safetensors", one)
		p.write("models--org--notyet/refs/main", []byte("rev9"))
		d := p.start()
		if names := d.modelNames(); !slices.Equal(names, []string{"alone", "org/name"}) {
			t.Errorf("the models are %q", names)
		}
		shown := must(d.walk(d.model("org/name")))(t)
		if !slices.Equal(shown, []string{"config.json", "model.safetensors", "sub/", "sub/config.json"}) {
			t.Errorf("org/name holds %q", shown)
		}
		for _, file := range []string{"model.safetensors", "config.json", "sub/config.json"} {
			if st := must(d.stat(d.model("org/name", file)))(t); st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
				t.Errorf("%s has the mode %o and %d links", file, st.Mode, st.Nlink)
			}
		}
		if diff := d.difference(d.model("org/name/model.safetensors"), one); diff != "" {
			t.Error(diff)
		}
		if diff := d.difference(d.at("tensors/org/name/weight"), one[128:]); diff != "" {
			t.Errorf("the tensor: %s", diff)
		}
		p.write(repo+"/refs/main", []byte("rev2\n"))
		eventually(t, patience, "the other revision is shown", func() bool {
			b, err := d.read(d.model("org/name/model.safetensors"))
			return err == nil && digest(b) == digest(two)
		})
	})
}

// TestKindsOfSources: a weight file alone, loose files in a folder, a folder that
// is a model itself, and a pipeline of many folders.
// The control: each is started on its own, and nothing of the others is there.
func TestKindsOfSources(t *testing.T) {
	weight := weights.Single(1, 5000)
	for name, c := range map[string]struct {
		files  []string // written with the weights, or as a side file
		source string   // below the folder of all sources
		models []string
		shown  []string
	}{
		"a file": {
			[]string{"foo.gguf", "bar.safetensors"}, "foo.gguf", []string{"foo"}, []string{"foo/", "foo/foo.gguf"},
		},
		"loose files": {
			[]string{"foo.gguf", "bar-00001-of-00002.safetensors", "bar-00002-of-00002.safetensors", "readme.txt", ".hidden.gguf", "deep/er/m.onnx"}, ".",
			[]string{"bar", "deep/er", "foo"},
			[]string{"bar/", "bar/bar-00001-of-00002.safetensors", "bar/bar-00002-of-00002.safetensors", "deep/", "deep/er/", "deep/er/m.onnx", "foo/", "foo/foo.gguf"},
		},
		"one model": {
			[]string{"whisper/config.json", "whisper/model.safetensors", "whisper/x/y.txt"}, "whisper", []string{"whisper"},
			[]string{"whisper/", "whisper/config.json", "whisper/model.safetensors", "whisper/x/", "whisper/x/y.txt"},
		},
		"a pipeline": {
			[]string{"org/pipe/model_index.json", "org/pipe/unet/config.json", "org/pipe/unet/model.safetensors", "org/pipe/vae/model.safetensors"}, ".", []string{"org/pipe"},
			[]string{"org/", "org/pipe/", "org/pipe/model_index.json", "org/pipe/unet/", "org/pipe/unet/config.json", "org/pipe/unet/model.safetensors", "org/pipe/vae/", "org/pipe/vae/model.safetensors"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, m mode) {
				p := newPlace(t, m)
				for _, f := range c.files {
					if strings.HasSuffix(f, ".json") || strings.HasSuffix(f, ".txt") {
						p.write(f, []byte("{}"))
					} else {
						p.write(f, weight)
					}
				}
				d := p.startAt(filepath.Join(p.dir, "mnt"), "--models", filepath.Join(p.models, c.source))
				if names := d.modelNames(); !slices.Equal(names, c.models) {
					t.Errorf("the models are %q, want %q", names, c.models)
				}
				if shown := must(d.walk(d.model()))(t); !slices.Equal(shown, c.shown) {
					t.Errorf("shown are\n%q, want\n%q", shown, c.shown)
				}
				for _, f := range c.shown {
					if !strings.HasSuffix(f, "/") && !strings.HasSuffix(f, ".json") && !strings.HasSuffix(f, ".txt") {
						if diff := d.difference(d.model(f), weight); diff != "" {
							t.Errorf("%s: %s", f, diff)
						}
					}
				}
			}, normal)
		})
	}
}

// TestOneNameTwice: of two sources with a model of one name the first wins, and
// status says so; the other models of both are there.
// The control: the other way round the other one wins.
func TestOneNameTwice(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		contents := map[string][]byte{"one": weights.Single(1, 5000), "two": weights.Single(2, 6000)}
		for source, content := range contents {
			p.write(source+"/same/model.safetensors", content)
			p.write(source+"/only-"+source+"/model.safetensors", content)
		}
		for _, order := range [][]string{{"one", "two"}, {"two", "one"}} {
			d := p.startAt(filepath.Join(p.dir, "mnt"), "--models", filepath.Join(p.models, order[0]), "--models", filepath.Join(p.models, order[1]))
			if names := d.modelNames(); !slices.Equal(names, []string{"only-one", "only-two", "same"}) {
				t.Errorf("the models are %q", names)
			}
			if diff := d.difference(d.model("same/model.safetensors"), contents[order[0]]); diff != "" {
				t.Errorf("the first source does not win: %s", diff)
			}
			out, _, _ := d.run("status", "--json")
			var s struct {
				Shadowed []string `json:"shadowed"`
			}
			if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Shadowed) != 1 ||
				!strings.Contains(s.Shadowed[0], "same") || !strings.Contains(s.Shadowed[0], filepath.Join(p.models, order[1])) {
				t.Errorf("status says %q of what cannot be seen (%v)", s.Shadowed, err)
			}
			if out, _, _ := d.run("status"); !strings.Contains(out, "same") {
				t.Errorf("status does not name it:\n%s", out)
			}
			d.reader.kill()
			d.end()
		}
	}, normal)
}

// TestSpecialFiles: pipes, sockets and devices in a model are not shown and block
// nobody; a symlink that leads nowhere or in a circle is not shown either.
func TestSpecialFiles(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.write("m/model.safetensors", weights.Single(1, 5000))
		p.link("nowhere", "m/dangling.safetensors")
		p.link("circle.safetensors", "m/circle.safetensors")
		if err := errors.Join(
			unix.Mkfifo(filepath.Join(p.models, "m/pipe.safetensors"), 0o644),
			unix.Mknod(filepath.Join(p.models, "m/null.bin"), unix.S_IFCHR|0o666, 0x103),
		); err != nil {
			t.Fatal(err)
		}
		d := p.start()
		if names := must(d.list(d.model("m")))(t); !slices.Equal(names, []string{"model.safetensors"}) {
			t.Errorf("m holds %q", names)
		}
		for _, name := range []string{"pipe.safetensors", "null.bin", "dangling.safetensors", "circle.safetensors"} {
			if _, err := d.stat(d.model("m", name)); !errors.Is(err, unix.ENOENT) {
				t.Errorf("%s: %v, want ENOENT", name, err)
			}
		}
		if ix := d.index("m"); ix.Error != nil || len(ix.Tensors) != 1 {
			t.Errorf("the model beside them: %d tensors, error %v", len(ix.Tensors), ix.Error)
		}
	}, normal)
}

// TestLinkLoops: symlinks that lead back to where they lie cost nothing: neither in
// a source, nor in a model, whose one checkpoint stays one.
// The control: a model beside them is found.
func TestLinkLoops(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.write("m/model.safetensors", weights.Single(1, 5000))
		p.write("plain/model.safetensors", weights.Single(1, 5000))
		for _, name := range []string{"a", "b", "c", "d"} {
			p.link(".", "m/"+name)
			p.link(".", "loops/"+name)
		}
		d := p.start()
		start := time.Now()
		answers := make(chan []string)
		go func() {
			names, _ := d.list(d.model())
			for _, name := range names {
				_, _ = d.list(d.at("tensors", name))
			}
			answers <- names
		}()
		select {
		case names := <-answers:
			if !slices.Contains(names, "m") || !slices.Contains(names, "plain") {
				t.Errorf("the models are %q", names)
			}
			t.Logf("listed after %v", time.Since(start))
		case <-time.After(patience):
			d.cmd.Process.Signal(unix.SIGQUIT) // nobody could wait for its end
			d.gone = true
			t.Fatal("a few links to . keep the daemon busy for ever")
		}
		if ix := d.index("m"); ix.Error != nil || len(ix.Tensors) != 1 {
			t.Errorf("the model with links to itself has %d tensors, error %v", len(ix.Tensors), ix.Error)
		}
	}, normal)
}
