// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestHubRepositories: which folders of a cache are models. Every cache also holds
// the model org/control.
func TestHubRepositories(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(p *place)
		want []string
	}{
		{"one revision", func(p *place) { p.repo("models--org--m", "main=r1", "r1") }, []string{"org/m"}},
		{"several revisions", func(p *place) { p.repo("models--org--m", "main=r2", "r1", "r2", "r3") }, []string{"org/m"}},
		{"without an organisation", func(p *place) { p.repo("models--gpt2", "main=r1", "r1") }, []string{"gpt2"}},
		{"dashes in names", func(p *place) { p.repo("models--my-org--a-b-c", "main=r1", "r1") }, []string{"my-org/a-b-c"}},
		{"unicode and spaces", func(p *place) { p.repo("models--org--zwölf ü", "main=r1", "r1") }, []string{"org/zwölf ü"}},
		{"no refs, one revision", func(p *place) { p.repo("models--org--m", "", "r1") }, []string{"org/m"}},
		{"no refs, several revisions", func(p *place) { p.repo("models--org--m", "", "r1", "r2") }, nil},
		{"another reference only", func(p *place) { p.repo("models--org--m", "v1=r1", "r1") }, []string{"org/m"}},
		{"a revision that is not downloaded", func(p *place) { p.repo("models--org--m", "main=r9", "r1") }, nil},
		{"no snapshots", func(p *place) { p.repo("models--org--m", "main=r1") }, nil},
		{"an empty folder", func(p *place) { p.files("models--org--m/") }, nil},
		{"a file", func(p *place) { p.files("models--org--m") }, nil},
		{"a revision that is a file", func(p *place) { p.files("models--org--m/snapshots/r1"); p.write("models--org--m/refs/main", "r1") }, nil},
		{"data sets and spaces", func(p *place) { p.repo("datasets--org--m", "main=r1", "r1"); p.repo("spaces--org--m", "main=r1", "r1") }, nil},
		{"hidden", func(p *place) { p.repo(".locks/models--org--m", "main=r1", "r1") }, nil},
		{"no name", func(p *place) { p.repo("models--", "main=r1", "r1") }, nil},
		{"names that lead elsewhere", func(p *place) {
			for _, name := range []string{"models--..", "models--..--..--m", "models--.", "models--a--..--b", "models----m", "models--m--"} {
				p.repo(name, "main=r1", "r1")
			}
		}, nil},
		{"a link to a repository", func(p *place) {
			p.repo("elsewhere/x", "main=r1", "r1")
			p.link("elsewhere/x", "models--org--m")
		}, []string{"org/m"}},
		{"by name", func(p *place) {
			p.repo("models--b", "main=r1", "r1")
			p.repo("models--a--z", "main=r1", "r1")
			p.repo("models--a-b", "main=r1", "r1")
		}, []string{"a-b", "a/z", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.repo("models--org--control", "main=r1", "r1")
			c.make(p)
			s := p.source("")
			if s.Kind() != "huggingface" {
				t.Fatalf("it is a %s", s.Kind())
			}
			got := []string{}
			for _, name := range names(t, s) {
				if name != "org/control" {
					got = append(got, name)
				}
			}
			if len(got) == len(names(t, s)) {
				t.Error("org/control is missing")
			}
			same(t, "models", got, c.want)
		})
	}
}

// repo makes a repository with revisions. Each has the file "which", a link to a
// blob that holds the revision's name, and "sub/which".
func (p *place) repo(dir, ref string, revisions ...string) {
	p.t.Helper()
	p.files(dir + "/blobs/")
	for _, r := range revisions {
		p.write(dir+"/blobs/"+r, r)
		p.link("../../blobs/"+r, dir+"/snapshots/"+r+"/which")
		p.link("../../../blobs/"+r, dir+"/snapshots/"+r+"/sub/which")
	}
	if name, commit, ok := strings.Cut(ref, "="); ok {
		p.write(dir+"/refs/"+name, commit)
	}
}

// What refs/main holds is a name: what else it may hold leads nowhere.
func TestHubReference(t *testing.T) {
	const repo = "models--org--m"
	long := strings.Repeat("a", 100)
	for text, want := range map[string]string{
		"r1":                      "r1",
		"r1\n":                    "r1",
		" r1\r\n":                 "r1",
		"v1.0_x-y":                "v1.0_x-y",
		long:                      long,
		"":                        "",
		"\n":                      "",
		"r2":                      "",
		"..":                      "",
		".":                       "",
		"../snapshots/r1":         "",
		"r1/sub":                  "",
		"/etc":                    "",
		".hidden":                 "",
		"r1 r1":                   "",
		"r1\x00":                  "",
		"r1" + long:               "",
		strings.Repeat("b", 1000): "",
	} {
		p := newPlace(t)
		p.repo("models--org--control", "main=r1", "r1")
		p.repo(repo, "main="+text, "r1", "v1.0_x-y", long, ".hidden")
		s := p.source("")
		if want == "" {
			same(t, "models of "+text, names(t, s), []string{"org/control"})
			continue
		}
		if got := content(t, model(t, s, "org/m"), "which"); got != want {
			t.Errorf("refs/main is %q: revision %q, want %q", text, got, want)
		}
	}
}

// A reference that is no regular file is none, and blocks nobody.
func TestHubReferenceSpecial(t *testing.T) {
	p := newPlace(t)
	p.repo("models--org--m", "", "r1")
	p.special(unix.S_IFIFO, "models--org--m/refs/main")
	within(t, 5*time.Second, "a scan", func() { same(t, "models", names(t, p.source("")), []string{"org/m"}) })
}

func TestHubFiles(t *testing.T) {
	const repo = "models--org--m"
	p := newPlace(t)
	p.needReach()
	p.repo(repo, "main=r1", "r1", "r2")
	snapshot := repo + "/snapshots/r1/"
	p.write(snapshot+"plain.txt", "no link")
	p.write(repo+"/blobs/weights", strings.Repeat("w", 1000))
	p.link("../../blobs/weights", snapshot+"model.safetensors")
	p.link("../../blobs/not-yet", snapshot+"dangling.safetensors")
	p.special(unix.S_IFIFO, repo+"/blobs/fifo")
	p.link("../../blobs/fifo", snapshot+"fifo.safetensors")
	p.age()
	m := model(t, p.source(""), "org/m")
	same(t, "files", listed(t, m, ""), []string{"model.safetensors", "plain.txt", "sub/", "which"})
	st := stat(t, m, "model.safetensors")
	if st.Folder || st.Size != 1000 || st.Mode != 0o644 || !st.Mtime.Equal(old) {
		t.Errorf("model.safetensors is shown as %+v", st)
	}
	if got := content(t, m, "sub/which"); got != "r1" {
		t.Errorf("sub/which holds %q", got)
	}
	for _, rel := range []string{"dangling.safetensors", "../r2/which", "../../refs/main", "r2"} {
		absent(t, m, rel)
	}
	p.write(repo+"/blobs/not-yet", "downloaded")
	if got := content(t, m, "dangling.safetensors"); got != "downloaded" {
		t.Errorf("the blob that was missing holds %q", got)
	}
}

// TestHubRevisionChanges: a model found earlier shows the revision that refs/main
// names, a second later at the latest.
func TestHubRevisionChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const repo = "models--org--m"
		p := newPlace(t)
		p.repo(repo, "main=r1", "r1", "r2")
		s := p.source("")
		m := model(t, s, "org/m")
		shows := func(what, want string) {
			t.Helper()
			time.Sleep(time.Second)
			if got := content(t, m, "which"); got != want {
				t.Errorf("%s: revision %q, want %q", what, got, want)
			}
		}
		gone := func(what string) {
			t.Helper()
			time.Sleep(time.Second)
			absent(t, m, "which")
			absent(t, m, "")
			same(t, what, names(t, s), []string{})
		}
		shows("at first", "r1")
		before := generations(t, m, "which")
		p.write(repo+"/refs/main", "r2")
		shows("refs/main names another", "r2")
		if generations(t, m, "which") == before {
			t.Error("another revision has the same generation")
		}
		p.write(repo+"/refs/main", "r3")
		gone("it names one that is not there")
		p.repo(repo, "", "r3")
		shows("that is downloaded", "r3")
		p.remove(repo + "/refs/main")
		gone("no refs/main, three revisions")
		p.remove(repo + "/snapshots/r1")
		p.remove(repo + "/snapshots/r3")
		shows("the only one that is left", "r2")
		p.remove(repo)
		gone("the repository is removed")
	})
}

// Within the second nothing mixes: the files of a model are of one revision.
func TestHubRevisionKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.repo("models--org--m", "main=r1", "r1", "r2")
		m := model(t, p.source(""), "org/m")
		first := content(t, m, "which")
		p.write("models--org--m/refs/main", "r2")
		if second := content(t, m, "sub/which"); first != "r1" || second != "r1" {
			t.Errorf("files of the revisions %s and %s", first, second)
		}
		p.remove("models--org--m/snapshots/r1")
		if _, err := m.Stat("which"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the revision is removed: %v", err)
		}
	})
}

func TestHubScanAgain(t *testing.T) {
	p := newPlace(t)
	p.repo("models--org--a", "main=r1", "r1")
	s := p.source("")
	same(t, "models", names(t, s), []string{"org/a"})
	p.repo("models--org--b", "main=r1", "r1")
	same(t, "one more", names(t, s), []string{"org/a", "org/b"})
	p.remove("models--org--a")
	same(t, "one less", names(t, s), []string{"org/b"})
	p.remove("models--org--b")
	same(t, "none", names(t, s), []string{})
}
