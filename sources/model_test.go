// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/sources"
)

// absent checks that a model has no such file, whatever one asks for.
func absent(t *testing.T, m *sources.Model, rel string) {
	t.Helper()
	for what, f := range map[string]func() error{
		"Stat":       func() error { _, err := m.Stat(rel); return err },
		"List":       func() error { _, err := m.List(rel); return err },
		"Generation": func() error { _, err := m.Generation(rel); return err },
		"Open": func() error {
			f, _, err := m.Open(rel)
			if err == nil {
				_ = f.Close()
			}
			return err
		},
	} {
		if err := f(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s(%q): error %v, want one of %v", what, rel, err, fs.ErrNotExist)
		}
	}
}

func TestModelFiles(t *testing.T) {
	p := newPlace(t)
	p.files("m/config.json", "m/sub/deep/w.pt", "m/.hidden/file", "m/empty", "m/folder/")
	p.write("m/empty", "")
	m := model(t, p.source(""), "m")
	same(t, "the model", listed(t, m, ""), []string{".hidden/", "config.json", "empty", "folder/", "sub/"})
	same(t, "sub", listed(t, m, "sub"), []string{"deep/"})
	same(t, "sub/deep", listed(t, m, "sub/deep"), []string{"w.pt"})
	same(t, "folder", listed(t, m, "folder"), []string{})
	if got := content(t, m, "sub/deep/w.pt"); got != "m/sub/deep/w.pt" {
		t.Errorf("read %q", got)
	}
	if got := content(t, m, "empty"); got != "" {
		t.Errorf("read %q", got)
	}
}

func TestModelStat(t *testing.T) {
	p := newPlace(t)
	p.needReach()
	p.files("m/config.json", "m/sub/")
	p.check(os.Chmod(p.path("m/config.json"), 0o640))
	p.check(os.Chmod(p.path("m/sub"), 0o750))
	p.age()
	m := model(t, p.source(""), "m")
	for rel, want := range map[string]struct {
		folder bool
		mode   uint32
		size   int64
	}{
		"": {true, 0o755, -1}, "config.json": {false, 0o640, int64(len("m/config.json"))}, "sub": {true, 0o750, -1},
	} {
		st := stat(t, m, rel)
		if st.Folder != want.folder || st.Mode != want.mode || want.size >= 0 && st.Size != want.size || !st.Mtime.Equal(old) ||
			int(st.Uid) != os.Geteuid() {
			t.Errorf("%q: %+v, want %+v", rel, st, want)
		}
	}
	st := stat(t, m, "config.json")
	f, opened, err := m.Open("config.json")
	p.check(err)
	defer f.Close()
	if opened != st {
		t.Errorf("Open returned the attributes\n%+v, Stat\n%+v", opened, st)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("what Open returns can be written")
	}
}

// Only plain relative paths name a file: none leads out of the model.
func TestModelPaths(t *testing.T) {
	p := newPlace(t)
	p.files("m/config.json", "m/sub/file", "secret", "n/config.json")
	m := model(t, p.source(""), "m")
	for _, rel := range []string{
		"nothing", "nothing/at/all", ".", "..", "../secret", "../n/config.json", "sub/../config.json", "sub/../../secret", "./config.json",
		"sub/.", "sub/..", "/config.json", p.path("secret"), "sub//file", "sub/", "config.json/", "/", "config.json\x00", "con\x00fig",
	} {
		absent(t, m, rel)
	}
}

func TestModelKinds(t *testing.T) {
	p := newPlace(t)
	p.files("m/config.json", "m/sub/file")
	m := model(t, p.source(""), "m")
	for _, rel := range []string{"", "sub"} {
		if f, _, err := m.Open(rel); !errors.Is(err, unix.EISDIR) {
			t.Errorf("opening the folder %q: %v, %v", rel, f, err)
		}
		if g, err := m.Generation(rel); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder %q has the generation %v, error %v", rel, g, err)
		}
	}
	if entries, err := m.List("config.json"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("listing a file: %v, %v", entries, err)
	}
	if _, err := m.Stat("config.json/x"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("stat below a file: %v", err)
	}
}

// Nothing but files and folders is shown, and nothing blocks.
func TestModelSpecialFiles(t *testing.T) {
	p := newPlace(t)
	p.files("m/config.json")
	kinds := map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK}
	if os.Geteuid() == 0 {
		kinds["device"] = unix.S_IFCHR
	}
	for name, kind := range kinds {
		p.special(kind, "m/"+name)
		p.link(name, "m/link-"+name)
	}
	p.link("nowhere", "m/dangling")
	p.link("circle", "m/circle")
	p.link("config.json/x", "m/below-a-file")
	m := model(t, p.source(""), "m")
	within(t, 5*time.Second, "looking at special files", func() {
		same(t, "files", listed(t, m, ""), []string{"config.json"})
		for name := range kinds {
			for _, rel := range []string{name, "link-" + name} {
				if _, err := m.Stat(rel); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("stat of %s: %v", rel, err)
				}
				if _, _, err := m.Open(rel); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("open of %s: %v", rel, err)
				}
				if _, err := m.Generation(rel); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("generation of %s: %v", rel, err)
				}
			}
		}
		absent(t, m, "dangling")
	})
	for rel, want := range map[string]error{"circle": unix.ELOOP, "below-a-file": unix.ENOTDIR} {
		if _, err := m.Stat(rel); !errors.Is(err, want) {
			t.Errorf("stat of %s: %v, want %v", rel, err, want)
		}
	}
}

func TestModelLinks(t *testing.T) {
	p := newPlace(t)
	p.needReach()
	p.files("src/m/config.json", "src/m/sub/file", "outside/big", "outside/folder/x")
	p.link("../../outside/big", "src/m/file")
	p.link(p.path("outside/folder"), "src/m/folder")
	p.link("sub/../sub/./file", "src/m/winding")
	p.link("/../../../"+p.path("outside/big"), "src/m/above-the-top")
	p.link("file", "src/m/link-0")
	for i := range 45 {
		p.link(fmt.Sprintf("link-%d", i), fmt.Sprintf("src/m/link-%d", i+1))
	}
	m := model(t, p.source("src"), "m")
	for rel, want := range map[string]string{
		"file": "outside/big", "folder/x": "outside/folder/x", "winding": "src/m/sub/file", "above-the-top": "outside/big", "link-30": "outside/big",
	} {
		if got := content(t, m, rel); got != want {
			t.Errorf("%s holds %q, want %q", rel, got, want)
		}
		if st := stat(t, m, rel); st.Folder || st.Mode != 0o644 || st.Size != int64(len(want)) {
			t.Errorf("%s: %+v", rel, st)
		}
	}
	same(t, "a linked folder", listed(t, m, "folder"), []string{"x"})
	if st := stat(t, m, "folder"); !st.Folder {
		t.Errorf("the linked folder: %+v", st)
	}
	if _, err := m.Stat("link-45"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("45 links: %v", err)
	}
	if len(listed(t, m, "")) >= 50 {
		t.Error("links that lead through too many others are listed")
	}
}

// TestOpenReplaced exchanges a file without rest while it is opened: what is opened
// is what its attributes say.
func TestOpenReplaced(t *testing.T) {
	p := newPlace(t)
	contents := []string{"short", "a good deal longer"}
	p.files("m/config.json")
	p.write("m/file", contents[0])
	m := model(t, p.source(""), "m")
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			next := p.path(fmt.Sprintf("next%d", i))
			err = errors.Join(os.WriteFile(next, []byte(contents[i%2]), 0o644), os.Rename(next, p.path("m/file")))
		}
		stopped <- err
	}()
	opened, exchanged := 0, 0
	var last sources.Generation
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && exchanged < 500; opened++ {
		f, st, err := m.Open("file")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil || int64(len(b)) != st.Size || string(b) != contents[0] && string(b) != contents[1] {
			t.Fatalf("%q was opened as %+v, error %v", b, st, err)
		}
		g, err := sources.GenerationOf(f)
		if err != nil || g.Ino != st.Generation.Ino || g.Mtime != st.Generation.Mtime {
			t.Fatalf("%+v was opened as %+v, error %v", g, st.Generation, err)
		}
		_ = f.Close()
		if g.Ino != last.Ino {
			exchanged++
		}
		last = g
	}
	close(stop)
	p.check(<-stopped)
	t.Logf("%d opened, %d times another one", opened, exchanged)
	if exchanged < 20 {
		t.Errorf("%d opened, %d times another one: the race was not run", opened, exchanged)
	}
}
