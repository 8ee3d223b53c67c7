// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/sources"
)

// tick returns when the filesystem's clock has gone on: a change from then on
// differs from one before.
func (p *place) tick() {
	p.t.Helper()
	ctime := func() int64 {
		var st unix.Stat_t
		p.write("clock", "")
		p.check(unix.Stat(p.path("clock"), &st))
		return st.Ctim.Nano()
	}
	for start := ctime(); ctime() == start; {
	}
}

// TestGeneration: what counts as another content, and what does not.
func TestGeneration(t *testing.T) {
	const file = "m/w.pt"
	for _, c := range []struct {
		name    string
		do      func(p *place)
		differs bool
	}{
		{"nothing", func(*place) {}, false},
		{"reading", func(p *place) { _, err := os.ReadFile(p.path(file)); p.check(err) }, false},
		{"a file beside it", func(p *place) { p.files("m/other") }, false},
		{"its folder renamed and back", func(p *place) { p.rename("m", "n"); p.rename("n", "m") }, false},
		{"rewritten, same size", func(p *place) { p.write(file, "one!") }, true},
		{"rewritten in place, same size", func(p *place) { p.overwrite(file, "two!") }, true},
		{"rewritten in place, mtime set back", func(p *place) { p.overwrite(file, "two!"); p.check(os.Chtimes(p.path(file), old, old)) }, true},
		{"longer", func(p *place) { p.write(file, "longer") }, true},
		{"truncated", func(p *place) { p.check(os.Truncate(p.path(file), 2)) }, true},
		{"replaced, same size", func(p *place) { p.write("new", "two!"); p.rename("new", file) }, true},
		{"replaced, same size and mtime", func(p *place) {
			p.write("new", "two!")
			p.check(os.Chtimes(p.path("new"), old, old))
			p.rename("new", file)
		}, true},
		{"touched", func(p *place) { now := time.Now(); p.check(os.Chtimes(p.path(file), now, now)) }, true},
		{"removed and made again", func(p *place) { p.remove(file); p.write(file, "one!") }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.files("m/config.json")
			p.write(file, "one!")
			p.check(os.Chtimes(p.path(file), old, old))
			m := model(t, p.source(""), "m")
			before := generations(t, m, "w.pt")
			p.tick()
			c.do(p)
			after := generations(t, m, "w.pt")
			if (before != after) != c.differs {
				t.Errorf("from %+v to %+v", before, after)
			}
			if (before.Hash() != after.Hash()) != c.differs || (before.String() != after.String()) != c.differs {
				t.Errorf("from %v to %v", before, after)
			}
		})
	}
}

func (p *place) overwrite(name, content string) {
	p.t.Helper()
	f, err := os.OpenFile(p.path(name), os.O_WRONLY, 0)
	p.check(err)
	_, err = f.WriteAt([]byte(content), 0)
	p.check(err)
	p.check(f.Close())
}

// generations is the generation of a file, by all ways to learn it.
func generations(t *testing.T, m *sources.Model, rel string) sources.Generation {
	t.Helper()
	g, err := m.Generation(rel)
	if err != nil {
		t.Fatal(err)
	}
	f, opened, err := m.Open(rel)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	of, err := sources.GenerationOf(f)
	if err != nil {
		t.Fatal(err)
	}
	if st := stat(t, m, rel); st.Generation != g || opened.Generation != g || of != g {
		t.Errorf("%s: Generation says %+v, Stat %+v, Open %+v, GenerationOf %+v", rel, g, st.Generation, opened.Generation, of)
	}
	return g
}

// The generation of a link is that of what it points to.
func TestGenerationOfLink(t *testing.T) {
	p := newPlace(t)
	p.files("m/config.json", "one", "two")
	p.link("../one", "m/w.pt")
	m := model(t, p.source(""), "m")
	before := generations(t, m, "w.pt")
	p.write("new", "")
	p.check(os.Symlink("../two", p.path("m/next")))
	p.rename("m/next", "m/w.pt")
	if generations(t, m, "w.pt") == before {
		t.Error("it points elsewhere, and the generation is the same")
	}
	before = generations(t, m, "w.pt")
	p.tick()
	p.write("two", "TWO")
	if generations(t, m, "w.pt") == before {
		t.Error("the target changed, and the generation is the same")
	}
}

// An open file keeps its generation when another takes its name.
func TestGenerationOfOpen(t *testing.T) {
	p := newPlace(t)
	p.files("m/w.pt")
	m := model(t, p.source(""), "m")
	f, st, err := m.Open("w.pt")
	p.check(err)
	defer f.Close()
	p.write("new", "other")
	p.rename("new", "m/w.pt")
	g, err := sources.GenerationOf(f)
	p.check(err)
	now := generations(t, m, "w.pt")
	if g.Ino != st.Generation.Ino || g.Size != st.Generation.Size || now.Ino == g.Ino {
		t.Errorf("the open file is %+v, was %+v; the new one is %+v", g, st.Generation, now)
	}
	p.check(f.Close())
	if _, err := sources.GenerationOf(f); err == nil {
		t.Error("a closed file has a generation")
	}
}

func TestGenerationHash(t *testing.T) {
	base := sources.Generation{Dev: 1, Ino: 2, Size: 3, Mtime: 4, Ctime: 5}
	seen := make(map[uint64]sources.Generation)
	for _, g := range []sources.Generation{
		{}, base,
		{Dev: 9, Ino: 2, Size: 3, Mtime: 4, Ctime: 5}, {Dev: 1, Ino: 9, Size: 3, Mtime: 4, Ctime: 5}, {Dev: 1, Ino: 2, Size: 9, Mtime: 4, Ctime: 5},
		{Dev: 1, Ino: 2, Size: 3, Mtime: 9, Ctime: 5}, {Dev: 1, Ino: 2, Size: 3, Mtime: 4, Ctime: 9}, {Dev: 2, Ino: 1, Size: 3, Mtime: 4, Ctime: 5},
	} {
		if other, ok := seen[g.Hash()]; ok || g.Hash() == 0 {
			t.Errorf("%+v hashes to %x, like %+v", g, g.Hash(), other)
		}
		seen[g.Hash()] = g
		if want := fmt.Sprintf("%016x", g.Hash()); g.String() != want {
			t.Errorf("%+v is written %s, want %s", g, g, want)
		}
	}
	if base.Hash() != (sources.Generation{Dev: 1, Ino: 2, Size: 3, Mtime: 4, Ctime: 5}).Hash() {
		t.Error("equal generations hash differently")
	}
}
