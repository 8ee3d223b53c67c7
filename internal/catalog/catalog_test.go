// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/sources"
)

func TestModels(t *testing.T) {
	p := newPlace(t)
	p.files("one/b/w.gguf", "one/org/m/w.safetensors", "one/a.gguf", "two/org/n/w.gguf", "two/c.gguf", "three/x/config.json")
	c, log := p.catalog("one", "two", "three")
	same(t, "models", names(t, c), []string{"a", "b", "c", "org/m", "org/n", "x"})
	for _, name := range names(t, c) {
		if m, ok := c.Lookup(t.Context(), name); !ok || m.Name() != name {
			t.Errorf("%s is listed, and not found", name)
		}
	}
	for _, name := range []string{"", "org", "org/", "/a", "a/", "A", "w.gguf", "a.gguf", "org/m/w.safetensors", "org/../a", "one/a"} {
		if m, ok := c.Lookup(t.Context(), name); ok || m != nil {
			t.Errorf("there is a model %q: %v", name, m)
		}
	}
	if len(c.Shadowed()) != 0 || log.Len() != 0 {
		t.Errorf("shadowed are %q, logged is %s", c.Shadowed(), log)
	}
	empty := catalog.New(nil, slog.New(slog.DiscardHandler))
	if len(names(t, empty)) != 0 || len(empty.Children(t.Context(), "")) != 0 {
		t.Error("without a source there are models")
	}
}

// TestModelsChange: a list is read again when it is a second old; a name that is
// not known then, too.
func TestModelsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.files("a/w.gguf", "b/w.gguf")
		c, _ := p.catalog("")
		a := lookup(t, c, "a")
		p.files("new/w.gguf")
		p.remove("b")
		time.Sleep(time.Second)
		if _, ok := c.Lookup(t.Context(), "new"); !ok {
			t.Error("a new model is not found")
		}
		same(t, "models", names(t, c), []string{"a", "new"})
		if _, ok := c.Lookup(t.Context(), "b"); ok {
			t.Error("a model that was not listed any more is found")
		}
		if lookup(t, c, "a") != a {
			t.Error("a model that stayed is another value")
		}
		p.files("b/w.gguf")
		time.Sleep(time.Second)
		same(t, "models when it is back", names(t, c), []string{"a", "b", "new"})
	})
}

// counted is a source that counts its scans.
type counted struct {
	sources.Source
	scans  atomic.Int64
	before func(context.Context) error
}

func (s *counted) Scan(ctx context.Context) ([]*sources.Model, error) {
	s.scans.Add(1)
	if s.before != nil {
		if err := s.before(ctx); err != nil {
			return nil, err
		}
	}
	return s.Source.Scan(ctx)
}

func (p *place) counted(spec string) *counted {
	p.t.Helper()
	s, err := sources.Resolve(p.path(spec), nil)
	p.check(err)
	return &counted{Source: s}
}

// TestScans: nothing is read before somebody asks, nor when nobody does; many who
// ask at once cause one scan; a name that is known causes none.
func TestScans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.files("a/w.gguf")
		s := p.counted("")
		s.before = func(context.Context) error { return unix.Nanosleep(&unix.Timespec{Nsec: 5e6}, nil) } // the bubble's clock stands still
		c := catalog.New([]sources.Source{s}, slog.New(slog.DiscardHandler))
		scans := func(what string, want int64) {
			t.Helper()
			if got := s.scans.Swap(0); got != want {
				t.Errorf("%s: %d scans, want %d", what, got, want)
			}
		}
		time.Sleep(time.Hour)
		scans("nobody asks", 0)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { c.Models(t.Context()) })
			all.Go(func() { c.Lookup(t.Context(), "nothing") })
			all.Go(func() { c.Children(t.Context(), "") })
		}
		all.Wait()
		scans("many ask at once", 1)
		names(t, c)
		c.Lookup(t.Context(), "nothing")
		scans("asked again at once", 0)
		time.Sleep(time.Second)
		lookup(t, c, "a")
		scans("asked for what is known", 0)
		c.Lookup(t.Context(), "nothing")
		scans("asked for what is not known", 1)
		time.Sleep(time.Hour)
		scans("nobody asks any more", 0)
		names(t, c)
		scans("asked for the list", 1)
	})
}

// An interrupted scan is not the list: what was known stays, and the next who asks
// scans.
func TestScanInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.files("a/w.gguf")
		s := p.counted("")
		c := catalog.New([]sources.Source{s}, slog.New(slog.DiscardHandler))
		same(t, "models", names(t, c), []string{"a"})
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		s.before = func(ctx context.Context) error { cancel(); return ctx.Err() }
		if got := c.Models(ctx); len(got) != 1 || got[0].Name() != "a" {
			t.Errorf("models of an interrupted scan: %v", got)
		}
		s.before = nil
		p.files("b/w.gguf")
		same(t, "models afterwards", names(t, c), []string{"a", "b"})
	})
}

// A source that cannot be read has no models meanwhile, is logged once, and does
// not hide the others.
// TestVanished: a model that is gone is told of when somebody looks, once, and a weight
// file that is gone from one; not while a source cannot be read, nor what is back.
func TestVanished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.files("one/a/w.gguf", "one/b/w.gguf", "two/c/w.gguf", "two/c/v.gguf", "two/d/w.gguf")
		fails := p.counted("one")
		c := catalog.New([]sources.Source{fails, p.counted("two")}, slog.New(slog.DiscardHandler))
		var told []string
		c.OnVanished(func(model, file string) { told = append(told, model+":"+file) })
		look := func(want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			for _, m := range c.Models(t.Context()) {
				if _, err := m.Checkpoints(t.Context()); err != nil {
					t.Error(err)
				}
			}
			slices.Sort(told)
			same(t, "told", told, want)
			told = nil
		}
		look()
		p.remove("one/a")
		p.remove("two/c/v.gguf")
		look("a:", "c:v.gguf")
		look()
		fails.before = func(context.Context) error { return errors.New("input/output error") }
		p.remove("two/d")
		look()
		fails.before = nil
		look("d:")
		p.remove("one")
		look("b:")
	})
}

func TestSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.files("one/a/w.gguf", "two/b/w.gguf")
		c, log := p.catalog("one", "two")
		same(t, "models", names(t, c), []string{"a", "b"})
		p.check(os.Rename(p.path("one"), p.path("away")))
		for range 3 {
			time.Sleep(time.Second)
			same(t, "models without the source", names(t, c), []string{"b"})
		}
		if text := log.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, p.path("one")) {
			t.Errorf("logged is\n%s", text)
		}
		p.check(os.Rename(p.path("away"), p.path("one")))
		time.Sleep(time.Second)
		same(t, "models when it is back", names(t, c), []string{"a", "b"})
		log.Reset()
		p.remove("one")
		time.Sleep(time.Second)
		names(t, c)
		if !strings.Contains(log.String(), p.path("one")) {
			t.Error("the second failure is not logged")
		}
	})
}

func TestChildren(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{"a", "a-b", "a.b/x", "a0/deep/er", "org/m", "org/n/o", "org/n/p", "org.x", "orga", "with space/\n", "zü/日本"} {
		p.files("src/" + name + "/config.json")
	}
	c, _ := p.catalog("src")
	for prefix, want := range map[string][]string{
		"":           {"a*", "a-b*", "a.b", "a0", "org", "org.x*", "orga*", "with space", "zü"},
		"a.b":        {"x*"},
		"a0":         {"deep"},
		"a0/deep":    {"er*"},
		"org":        {"m*", "n"},
		"org/n":      {"o*", "p*"},
		"with space": {"\n*"},
		"zü":         {"日本*"},
		"a":          {}, "org/m": {}, "or": {}, "org/": {}, "nothing": {}, "a0/de": {}, "z": {},
	} {
		got := []string{}
		for _, child := range c.Children(t.Context(), prefix) {
			name := child.Name
			full := strings.TrimPrefix(prefix+"/"+name, "/")
			if child.Model != nil {
				if child.Model.Name() != full {
					t.Errorf("%q below %q is the model %q", name, prefix, child.Model.Name())
				}
				name += "*"
			}
			got = append(got, name)
			if one, ok := c.Child(t.Context(), prefix, child.Name); !ok || one != child {
				t.Errorf("%q below %q is listed as %v, and found as %v, %v", child.Name, prefix, child, one, ok)
			}
		}
		slices.Sort(got) // the order is free
		slices.Sort(want)
		same(t, "below "+prefix, got, want)
	}
	for _, no := range [][2]string{{"", "or"}, {"", "org/m/x"}, {"", "nothing"}, {"org", "x"}, {"org", "mm"}, {"a", "b"}, {"org/m", "config.json"}, {"a", "config.json"}, {"a0", "de"}} {
		if child, ok := c.Child(t.Context(), no[0], no[1]); ok {
			t.Errorf("%q has a child %q: %v", no[0], no[1], child)
		}
	}
}

// TestShadowed: of two sources with one name the first wins, also where the name
// of one is a folder of the other; the rest of both is there.
func TestShadowed(t *testing.T) {
	for _, c := range []struct {
		name       string
		one, two   []string
		want       []string // both sources together
		lost, says string
	}{
		{"no conflict", []string{"a/w.gguf"}, []string{"b/w.gguf"}, []string{"a", "b"}, "", ""},
		{"names that only begin alike", []string{"a/w.gguf", "org/m/w.gguf"}, []string{"ab/w.gguf", "a.b/w.gguf", "org/mm/w.gguf"}, []string{"a", "a.b", "ab", "org/m", "org/mm"}, "", ""},
		{"one name", []string{"a/w.gguf", "x/w.gguf"}, []string{"a/w.gguf", "y/w.gguf"}, []string{"a", "x", "y"}, "a", "another model has that name"},
		{"a file and a folder", []string{"a.gguf"}, []string{"a/w.gguf"}, []string{"a"}, "a", "another model has that name"},
		{"below a model", []string{"a/w.gguf"}, []string{"a/b/w.gguf", "c/w.gguf"}, []string{"a", "c"}, "a/b", "it lies below the model a"},
		{"far below a model", []string{"a/b/w.gguf"}, []string{"a/b/c/d/w.gguf"}, []string{"a/b"}, "a/b/c/d", "it lies below the model a/b"},
		{"above a model", []string{"a/b/w.gguf"}, []string{"a/w.gguf", "c/w.gguf"}, []string{"a/b", "c"}, "a", "other models lie below that name"},
		{"far above a model", []string{"a/b/c/w.gguf"}, []string{"a.gguf"}, []string{"a/b/c"}, "a", "other models lie below that name"},
		{"one folder, many models", []string{"org/m/w.gguf"}, []string{"org/n/w.gguf"}, []string{"org/m", "org/n"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t)
				for source, files := range map[string][]string{"one": c.one, "two": c.two} {
					for _, f := range files {
						p.write(source+"/"+f, gguf(source))
					}
				}
				cat, log := p.catalog("one", "two")
				for range 3 {
					same(t, "models", names(t, cat), c.want)
					time.Sleep(time.Second)
				}
				shadowed := cat.Shadowed()
				if c.lost == "" {
					if len(shadowed) != 0 || log.Len() != 0 {
						t.Errorf("shadowed are %q, logged is %s", shadowed, log)
					}
					return
				}
				if len(shadowed) != 1 || !strings.HasPrefix(shadowed[0], c.lost+" of "+p.path("two")) || !strings.HasSuffix(shadowed[0], c.says) {
					t.Errorf("shadowed are %q, want %s of two: %s", shadowed, c.lost, c.says)
				}
				if n := strings.Count(log.String(), "level=WARN"); n != 1 {
					t.Errorf("logged %d times:\n%s", n, log)
				}
				if m, ok := cat.Lookup(t.Context(), c.lost); ok {
					same(t, "the winner's tensors", tensors(index(t, m, "")), []string{"one"})
				}
			})
		})
	}
}

// When the first source has it no longer, the other one's model is seen.
func TestShadowedReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("one/m/w.gguf", gguf("one"))
		p.write("two/m/w.gguf", gguf("two"))
		p.files("one/other/w.gguf")
		c, _ := p.catalog("one", "two")
		m := lookup(t, c, "m")
		same(t, "tensors", tensors(index(t, m, "")), []string{"one"})
		p.remove("one/m")
		time.Sleep(time.Second)
		same(t, "models", names(t, c), []string{"m", "other"})
		same(t, "tensors", tensors(index(t, lookup(t, c, "m"), "")), []string{"two"})
		same(t, "shadowed", c.Shadowed(), nil)
		p.write("one/m/w.gguf", gguf("one again"))
		time.Sleep(time.Second)
		names(t, c)
		same(t, "tensors", tensors(index(t, lookup(t, c, "m"), "")), []string{"one again"})
		if len(c.Shadowed()) != 1 {
			t.Errorf("shadowed are %q", c.Shadowed())
		}
	})
}

// What Shadowed returns is the caller's.
func TestShadowedCopy(t *testing.T) {
	p := newPlace(t)
	p.files("one/m/w.gguf", "two/m/w.gguf")
	c, _ := p.catalog("one", "two")
	names(t, c)
	c.Shadowed()[0] = "overwritten"
	if got := c.Shadowed(); len(got) != 1 || got[0] == "overwritten" {
		t.Errorf("shadowed are %q", got)
	}
}

func TestModelFiles(t *testing.T) {
	p := newPlace(t)
	p.write("m/config.json", []byte("{}"))
	p.files("m/sub/w.gguf")
	m := p.model()
	ctx := t.Context()
	entries, err := m.List(ctx, "")
	if want := []sources.Entry{{Name: "config.json"}, {Name: "sub", Folder: true}}; err != nil || !slices.Equal(entries, want) {
		t.Errorf("listed %v, error %v", entries, err)
	}
	st, err := m.Stat(ctx, "config.json")
	if err != nil || st.Size != 2 || st.Folder {
		t.Errorf("%+v, error %v", st, err)
	}
	if folder, err := m.Folder(ctx); err != nil || !folder.Folder {
		t.Errorf("the model's folder: %+v, error %v", folder, err)
	}
	f, opened, err := m.Open(ctx, "config.json")
	p.check(err)
	defer f.Close()
	if g, err := m.Generation(ctx, "config.json"); err != nil || opened != st || g != st.Generation {
		t.Errorf("Open says %+v, Stat %+v, Generation %+v, error %v", opened, st, g, err)
	}
	if _, err := m.Stat(ctx, "../config.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that leads out: %v", err)
	}
	for rel, want := range map[string]bool{
		"w.gguf": true, "sub/W.SafeTensors": true, "new.bin": true, "config.json": false, ".w.gguf": false, ".cache/w.gguf": false,
		"sub/.cache/w.gguf": false, "optimizer.pt": false, "w.safetensors.index.json": false, "gguf": false,
	} {
		if got := m.IsWeight(rel); got != want {
			t.Errorf("%s is a weight file: %v", rel, got)
		}
	}
}

// TestCatalogTogether has many use a catalog while models come, go and change.
func TestCatalogTogether(t *testing.T) {
	p := newPlace(t)
	p.files("one/stays/w.safetensors", "two/stays/w.safetensors", "two/org/x/config.json")
	c, _ := p.catalog("one", "two")
	c.OnIdle(func() {})
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, m := range c.Models(t.Context()) {
					cps, err := m.Checkpoints(t.Context())
					if err != nil {
						continue
					}
					for _, cp := range cps.All {
						_, _ = cp.Index(t.Context())
					}
					_ = m.LastIndexError()
				}
				if _, ok := c.Child(t.Context(), "", "stays"); !ok {
					t.Error("the model that stays is gone")
					return
				}
				c.Children(t.Context(), "org")
				c.Lookup(t.Context(), fmt.Sprint("nothing", i))
				c.Shadowed()
			}
		})
	}
	for i := range 60 {
		p.files(fmt.Sprintf("one/comes%d/w.gguf", i%7), "two/org/y/w.gguf")
		p.replace("one/stays/w.safetensors", safetensors(fmt.Sprint("t", i)))
		time.Sleep(2 * time.Millisecond)
		p.remove(fmt.Sprintf("one/comes%d", (i+3)%7))
	}
	close(stop)
	all.Wait()
}
