// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/sources"
)

// place is a folder of a test, in which everybody may search.
type place struct {
	t   *testing.T
	dir string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t, t.TempDir()}
	p.check(os.Chmod(p.dir, 0o755))
	p.check(os.Chmod(filepath.Dir(p.dir), 0o755))
	return p
}

// needReach skips a test of permissions where the temporary folder is private.
func (p *place) needReach() {
	p.t.Helper()
	for dir := p.dir; dir != "/"; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		p.check(err)
		if st.Mode()&0o111 != 0o111 {
			p.t.Skipf("%s is not open to everybody: set TMPDIR", dir)
		}
	}
}

func (p *place) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// files writes files that hold their own names. A name that ends in "/" is a
// folder.
func (p *place) files(names ...string) {
	p.t.Helper()
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			p.check(os.MkdirAll(p.path(name), 0o755))
			continue
		}
		p.write(name, name)
	}
}

func (p *place) write(name, content string) {
	p.t.Helper()
	p.check(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.check(os.WriteFile(p.path(name), []byte(content), 0o644))
}

func (p *place) link(target, name string) {
	p.t.Helper()
	p.check(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.check(os.Symlink(target, p.path(name)))
}

// special makes a FIFO, a socket or, as root, a device.
func (p *place) special(kind uint32, name string) {
	p.t.Helper()
	p.check(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	device := 0
	if kind == unix.S_IFCHR {
		device = 0x103 // null
	}
	p.check(unix.Mknod(p.path(name), kind|0o666, device))
}

func (p *place) rename(from, to string) {
	p.t.Helper()
	p.check(os.Rename(p.path(from), p.path(to)))
}

func (p *place) remove(name string) {
	p.t.Helper()
	p.check(os.RemoveAll(p.path(name)))
}

// age makes everything look as if last written long ago.
func (p *place) age() {
	p.t.Helper()
	p.check(filepath.WalkDir(p.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Type()&os.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, old, old)
	}))
}

var old = time.Date(2021, 2, 3, 4, 5, 6, 789, time.UTC)

// source resolves a spec below the place.
func (p *place) source(name string) sources.Source {
	p.t.Helper()
	s, err := sources.Resolve(p.path(name), nil)
	p.check(err)
	return s
}

func scan(t *testing.T, s sources.Source) []*sources.Model {
	t.Helper()
	models, err := s.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return models
}

// names are those of the models that a source has now.
func names(t *testing.T, s sources.Source) []string {
	t.Helper()
	out := []string{}
	for _, m := range scan(t, s) {
		out = append(out, m.Name())
	}
	return out
}

// model finds a model of a source.
func model(t *testing.T, s sources.Source, name string) *sources.Model {
	t.Helper()
	for _, m := range scan(t, s) {
		if m.Name() == name {
			return m
		}
	}
	t.Fatalf("there is no model %q, only %q", name, names(t, s))
	return nil
}

// listed is what a folder of a model holds, folders with a "/".
func listed(t *testing.T, m *sources.Model, rel string) []string {
	t.Helper()
	entries, err := m.List(rel)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, e := range entries {
		name := e.Name
		if e.Folder {
			name += "/"
		}
		out = append(out, name)
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// content reads a file of a model through Open.
func content(t *testing.T, m *sources.Model, rel string) string {
	t.Helper()
	f, st, err := m.Open(rel)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, st.Size)
	if _, err := f.ReadAt(b, 0); err != nil && st.Size > 0 {
		t.Fatal(err)
	}
	return string(b)
}

func stat(t *testing.T, m *sources.Model, rel string) sources.Stat {
	t.Helper()
	st, err := m.Stat(rel)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// within fails a test whose f blocks.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("%s is not done after %v", what, limit)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
}
