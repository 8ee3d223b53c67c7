// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/sources"
)

// place is a folder of a test.
type place struct {
	t   *testing.T
	dir string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	return &place{t, t.TempDir()}
}

func (p *place) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(name string, content []byte) {
	p.t.Helper()
	p.check(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.check(os.WriteFile(p.path(name), content, 0o644))
}

// files writes files that hold one tensor, "w", where their extension says that
// they hold any, and nothing otherwise.
func (p *place) files(names ...string) {
	p.t.Helper()
	for _, name := range names {
		switch filepath.Ext(name) {
		case ".safetensors":
			p.write(name, safetensors("w"))
		case ".gguf":
			p.write(name, gguf("w"))
		case ".npz":
			p.write(name, npz(p.t, "w"))
		default:
			p.write(name, nil)
		}
	}
}

// replace puts another file in a file's place at once.
func (p *place) replace(name string, content []byte) {
	p.t.Helper()
	p.write("replacement", content)
	p.check(os.Rename(p.path("replacement"), p.path(name)))
}

func (p *place) remove(name string) {
	p.t.Helper()
	p.check(os.RemoveAll(p.path(name)))
}

// list writes a list of shards that says in which file each tensor is.
func (p *place) list(name string, shards map[string]string) {
	p.t.Helper()
	var entries []string
	for tensor, file := range shards {
		entries = append(entries, fmt.Sprintf("%q: %q", tensor, file))
	}
	p.write(name, []byte(`{"metadata": {}, "weight_map": {`+strings.Join(entries, ", ")+`}}`))
}

// tensorBytes is the size of the tensors that the builders below make, one byte
// an element.
const tensorBytes = 4

// safetensors is a file with tensors of those names.
func safetensors(names ...string) []byte {
	var entries []string
	for i, name := range names {
		entries = append(entries, fmt.Sprintf(`%q:{"dtype":"U8","shape":[4],"data_offsets":[%d,%d]}`, name, i*tensorBytes, (i+1)*tensorBytes))
	}
	header := "{" + strings.Join(entries, ",") + "}"
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), bytes.Repeat([]byte{7}, len(names)*tensorBytes)...)
}

func gguf(names ...string) []byte {
	const i8, alignment = 24, 32
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), 3)
	b = le.AppendUint64(b, uint64(len(names)))
	b = le.AppendUint64(b, 0) // keys
	for i, name := range names {
		b = append(le.AppendUint64(b, uint64(len(name))), name...)
		b = le.AppendUint64(le.AppendUint32(b, 1), tensorBytes)
		b = le.AppendUint64(le.AppendUint32(b, i8), uint64(i*alignment))
	}
	for len(b)%alignment != 0 {
		b = append(b, 0)
	}
	return append(b, make([]byte, alignment*len(names))...)
}

func npz(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "\x93NUMPY\x01\x00\x76\x00%-117s\n\x01\x02\x03\x04", "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }")
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// catalog makes one of sources below the place, and what it logs.
func (p *place) catalog(specs ...string) (*catalog.Catalog, *bytes.Buffer) {
	p.t.Helper()
	var list []sources.Source
	for _, spec := range specs {
		s, err := sources.Resolve(p.path(spec), nil)
		p.check(err)
		list = append(list, s)
	}
	log := new(bytes.Buffer)
	return catalog.New(list, slog.New(slog.NewTextHandler(log, nil))), log
}

// model is the model m of a source that is the place itself.
func (p *place) model() *catalog.Model {
	p.t.Helper()
	c, _ := p.catalog("")
	return lookup(p.t, c, "m")
}

func lookup(t *testing.T, c *catalog.Catalog, name string) *catalog.Model {
	t.Helper()
	m, ok := c.Lookup(t.Context(), name)
	if !ok {
		t.Fatalf("there is no model %q, only %q", name, names(t, c))
	}
	return m
}

func names(t *testing.T, c *catalog.Catalog) []string {
	t.Helper()
	out := []string{}
	for _, m := range c.Models(t.Context()) {
		out = append(out, m.Name())
	}
	return out
}

func checkpoints(t *testing.T, m *catalog.Model) *catalog.Checkpoints {
	t.Helper()
	cps, err := m.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cps
}

// checkpoint is the one of a name; the primary one for "".
func checkpoint(t *testing.T, m *catalog.Model, name string) *catalog.Checkpoint {
	t.Helper()
	cps := checkpoints(t, m)
	cp, ok := cps.Named(name)
	if name == "" {
		cp, ok = cps.Primary, cps.Primary != nil
	}
	if !ok {
		t.Fatalf("%s has no checkpoint %q", m.Name(), name)
	}
	return cp
}

// index reads the index of a checkpoint, as it is now.
func index(t *testing.T, m *catalog.Model, name string) *catalog.Indexed {
	t.Helper()
	ix, err := checkpoint(t, m, name).Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

// tensors are the names in an index.
func tensors(ix *catalog.Indexed) []string {
	out := []string{}
	for _, x := range ix.Index.Tensors {
		out = append(out, x.Name)
	}
	return out
}

// shown are the paths in an index, in the order of its tensors.
func shown(ix *catalog.Indexed) []string {
	out := []string{}
	for i := range ix.Index.Tensors {
		out = append(out, ix.Tree.Path(i))
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// saysAll checks that an error's text holds every part.
func saysAll(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one about %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// unread makes a file look as if nobody has ever read it.
func (p *place) unread(name string) {
	p.t.Helper()
	now := time.Now()
	p.check(os.Chtimes(p.path(name), now.AddDate(-2, 0, 0), now))
}

// wasRead says whether somebody has read a file since unread.
func (p *place) wasRead(name string) bool {
	p.t.Helper()
	var st unix.Stat_t
	p.check(unix.Stat(p.path(name), &st))
	return st.Atim.Nano() > st.Mtim.Nano()-int64(365*24*time.Hour)
}
