// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/sources"
)

func TestResolve(t *testing.T) {
	p := newPlace(t)
	p.files(
		"tree/a/config.json", "tree/b.gguf", "tree/readme.txt", "empty/",
		"whisper/config.json", "whisper/model.safetensors", "pipe/model_index.json", "pipe/unet/model.safetensors",
		"named/config.json/", "named/x/model.gguf",
		"cache/models--org--name/snapshots/r/config.json", "cache/.locks/", "cache/datasets--a--b/snapshots/r/config.json",
		"data/datasets--a--b/snapshots/r/readme.txt",
		"file/Tiny-00001-of-00002.safetensors", "file/UPPER.GGUF", "file/with space.pt",
	)
	p.link("whisper", "linked")
	p.link("file/UPPER.GGUF", "renamed.gguf")
	p.link("cache", "hub")
	for _, c := range []struct {
		spec, kind string
		models     []string
	}{
		{"tree", "folder", []string{"a", "b"}},
		{"tree/", "folder", []string{"a", "b"}},
		{"empty", "folder", []string{}},
		{"named", "folder", []string{"x"}},
		{"whisper", "model", []string{"whisper"}},
		{"pipe", "model", []string{"pipe"}},
		{"linked", "model", []string{"linked"}},
		{"cache", "huggingface", []string{"org/name"}},
		{"hub", "huggingface", []string{"org/name"}},
		{"data", "folder", []string{}},
		{"file/Tiny-00001-of-00002.safetensors", "file", []string{"Tiny"}},
		{"file/UPPER.GGUF", "file", []string{"UPPER"}},
		{"file/with space.pt", "file", []string{"with space"}},
		{"renamed.gguf", "file", []string{"renamed"}},
	} {
		t.Run(c.spec, func(t *testing.T) {
			spec := p.dir + "/" + c.spec
			s, err := sources.Resolve(spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s.Kind() != c.kind || s.Spec() != spec {
				t.Errorf("a %s named %s, want a %s", s.Kind(), s.Spec(), c.kind)
			}
			same(t, "models", names(t, s), c.models)
		})
	}
}

// A spec is taken when it is resolved: a later change of folder does not move it.
func TestResolveRelative(t *testing.T) {
	p := newPlace(t)
	p.files("here/m/config.json", "elsewhere/")
	t.Chdir(p.path("here"))
	s, err := sources.Resolve(".", nil)
	p.check(err)
	file, err := sources.Resolve("m", nil)
	p.check(err)
	t.Chdir(p.path("elsewhere"))
	same(t, "models of .", names(t, s), []string{"m"})
	same(t, "models of m", names(t, file), []string{"m"})
	if got := content(t, model(t, s, "m"), "config.json"); got != "here/m/config.json" {
		t.Errorf("read %q", got)
	}
}

func TestResolveHome(t *testing.T) {
	p := newPlace(t)
	p.files("models/m/config.json", "work/~/odd/config.json")
	t.Setenv("HOME", p.dir)
	t.Chdir(p.path("work"))
	s, err := sources.Resolve("~/models", nil)
	p.check(err)
	same(t, "models", names(t, s), []string{"m"})
	if s.Spec() != "~/models" {
		t.Errorf("the spec became %s", s.Spec())
	}
	s, err = sources.Resolve("./~", nil)
	p.check(err)
	same(t, "models of ./~", names(t, s), []string{"odd"})
}

func TestResolveErrors(t *testing.T) {
	p := newPlace(t)
	p.files("notes.txt", "training_args.bin", ".hidden.gguf", "plain", "m.gguf")
	p.special(unix.S_IFIFO, "pipe.gguf")
	p.special(unix.S_IFSOCK, "socket.gguf")
	p.link("nowhere", "dangling")
	p.link("circle", "circle")
	for spec, want := range map[string]string{
		"nothing":           "does not exist",
		"dangling":          "does not exist",
		"nothing/m.gguf":    "does not exist",
		"notes.txt":         "weight file",
		"plain":             "weight file",
		"training_args.bin": "weight file",
		".hidden.gguf":      "weight file",
		"pipe.gguf":         "neither a file nor a folder",
		"socket.gguf":       "neither a file nor a folder",
		"m.gguf/below":      "not a directory",
		"circle":            "too many levels of symbolic links",
	} {
		s, err := sources.Resolve(p.path(spec), nil)
		if !errors.Is(err, sources.ErrSpec) || s != nil {
			t.Errorf("%s: %v, error %v", spec, s, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, want) || !strings.Contains(text, p.path(spec)) {
			t.Errorf("%s: %q says neither %q nor of what", spec, text, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	p := newPlace(t)
	p.files("one/", "two/", "hf/hub/", "cache/", "xdg/huggingface/hub/", "home/.cache/huggingface/hub/", "bare/", "wrong/hub")
	for _, c := range []struct {
		name string
		env  map[string]string // relative to the place
		want []string          // those that are "absent" are said to be missing
	}{
		{"absent ones", map[string]string{"MODELFS_MODELS": "absent/one:two:absent"}, []string{"absent/one", "two", "absent"}},
		{"nothing is set", nil, nil},
		{"one", map[string]string{"MODELFS_MODELS": "one"}, []string{"one"}},
		{"two", map[string]string{"MODELFS_MODELS": "two:one"}, []string{"two", "one"}},
		{"empty parts", map[string]string{"MODELFS_MODELS": ":one::two:"}, []string{"one", "two"}},
		{"HF_HOME", map[string]string{"HF_HOME": "hf"}, []string{"hf/hub"}},
		{"both, ours first", map[string]string{"MODELFS_MODELS": "one", "HF_HOME": "hf"}, []string{"one", "hf/hub"}},
		{"HF_HUB_CACHE is nearer", map[string]string{"HF_HUB_CACHE": "cache", "HF_HOME": "hf"}, []string{"cache"}},
		{"XDG_CACHE_HOME", map[string]string{"XDG_CACHE_HOME": "xdg", "HOME": "home"}, []string{"xdg/huggingface/hub"}},
		{"HF_HOME before XDG_CACHE_HOME", map[string]string{"HF_HOME": "hf", "XDG_CACHE_HOME": "xdg"}, []string{"hf/hub"}},
		{"HOME", map[string]string{"HOME": "home"}, []string{"home/.cache/huggingface/hub"}},
		{"no cache in HOME", map[string]string{"HOME": "bare"}, nil},
		{"no cache in HF_HOME", map[string]string{"HF_HOME": "bare", "HOME": "home"}, nil},
		{"hub is a file", map[string]string{"HF_HOME": "wrong"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, key := range []string{"MODELFS_MODELS", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"} {
				var list []string
				for part := range strings.SplitSeq(c.env[key], ":") {
					if part != "" {
						part = p.path(part)
					}
					list = append(list, part)
				}
				t.Setenv(key, strings.Join(list, ":"))
			}
			var want, absent []string
			for _, name := range c.want {
				if strings.HasPrefix(name, "absent") {
					absent = append(absent, p.path(name))
				} else {
					want = append(want, p.path(name))
				}
			}
			specs, missing := sources.Defaults(os.Getenv)
			same(t, "specs", specs, want)
			same(t, "missing", missing, absent)
		})
	}
}

// What Defaults returns are specs: they resolve.
func TestDefaultsResolve(t *testing.T) {
	p := newPlace(t)
	p.files("mine/a/config.json", "hf/hub/models--org--b/snapshots/r/config.json")
	t.Setenv("MODELFS_MODELS", p.path("mine"))
	t.Setenv("HF_HUB_CACHE", "")
	t.Setenv("HF_HOME", p.path("hf"))
	var kinds, models []string
	specs, _ := sources.Defaults(os.Getenv)
	for _, spec := range specs {
		s, err := sources.Resolve(spec, nil)
		p.check(err)
		kinds = append(kinds, s.Kind()+" "+filepath.Base(spec))
		models = append(models, names(t, s)...)
	}
	same(t, "sources", kinds, []string{"folder mine", "huggingface hub"})
	same(t, "models", models, []string{"a", "org/b"})
}
