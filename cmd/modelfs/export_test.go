// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/loaders/safetensors"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tensors/convert"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// content is what a file of safetensors holds: dtype and shape, and the bytes.
func content(t *testing.T, files ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ix, err := loaders.Parse(filepath.Base(file), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i := range ix.Tensors {
			ts := &ix.Tensors[i]
			if i == 0 && ts.Offset%safetensors.PageSize != 0 {
				t.Errorf("%s: the data begin at %d", file, ts.Offset)
			}
			out[ts.Name] = fmt.Sprintf("%s%v", ts.DType, ts.Shape) + string(b[ts.Offset:ts.Offset+ts.NBytes])
		}
	}
	return out
}

// names lists a folder, what is hidden too.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func put(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// array is an NPY file.
func array(descr string, fortran bool, shape string, data []byte) []byte {
	order := "False"
	if fortran {
		order = "True"
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, order, shape)
	header += strings.Repeat(" ", 63-(10+len(header))%64) + "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	return append(append(b, header...), data...)
}

// archive is an NPZ file.
func archive(t *testing.T, members map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range members {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ggufOf is a GGUF file of one tensor of 256 elements, of a type by its number there.
func ggufOf(kind uint32, size int) []byte {
	b := []byte("GGUF")
	b = binary.LittleEndian.AppendUint32(b, 3)
	b = binary.LittleEndian.AppendUint64(b, 1)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint64(b, 1)
	b = append(b, 'w')
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint64(b, 256)
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint64(b, 0)
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	return append(b, make([]byte, size)...)
}

func TestExport(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out.safetensors")
	got := f.succeed(t, "export", shipped, out)
	if !strings.HasPrefix(got, "exported silero_vad_16k: 15 tensors, 1.18 MiB in 1 file, in ") || !strings.HasSuffix(got, "\nwrote "+out+"\n") {
		t.Error(got)
	}
	want := content(t, out)
	source, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	ix, err := loaders.Parse("x.safetensors", bytes.NewReader(source), int64(len(source)))
	if err != nil || len(ix.Tensors) != len(want) {
		t.Fatal(err, len(want))
	}
	for _, ts := range ix.Tensors {
		if want[ts.Name] != fmt.Sprintf("%s%v", ts.DType, ts.Shape)+string(source[ts.Offset:ts.Offset+ts.NBytes]) {
			t.Errorf("%s has other bytes", ts.Name)
		}
	}
	f.succeed(t, "inspect", "--check", out)

	got = f.succeed(t, "export", "--shard-size", "256KiB", shipped, filepath.Join(dir, "s.safetensors"))
	files, err := filepath.Glob(filepath.Join(dir, "s-0*-of-0*.safetensors"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	if !strings.Contains(got, " and s.safetensors.index.json\n") || len(content(t, files...)) != len(want) {
		t.Error(got)
	}
	for name, w := range content(t, files...) {
		if want[name] != w {
			t.Errorf("%s has other bytes in a shard", name)
		}
	}
	if got := names(t, dir); len(got) != len(files)+2 {
		t.Errorf("something is left: %q", got)
	}
	model := filepath.Join(t.TempDir(), "m")
	if err := os.Rename(dir, model); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(model, "out.safetensors")); err != nil {
		t.Fatal(err)
	}
	if got := f.succeed(t, "inspect", model); !strings.Contains(got, fmt.Sprintf("m: 15 tensors, 1.18 MiB in %d files", len(files))) {
		t.Error(got)
	}
}

// TestExportForms: what has strides, another byte order, or lies compressed; what is
// converted and what stays; what the file holds besides.
func TestExportForms(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	le := func(v ...float32) []byte {
		b, err := binary.Append(nil, binary.LittleEndian, v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	in := put(t, dir, "in.npz", archive(t, map[string][]byte{
		"plain.npy":   array("<f4", false, "(2, 3)", le(0, 1, 2, 3, 4, 5)),
		"fortran.npy": array("<f4", true, "(2, 3)", le(0, 3, 1, 4, 2, 5)),
		"big.npy":     array(">i2", false, "(2,)", []byte{0, 1, 0, 2}),
		"empty.npy":   array("<f4", false, "(0, 3)", nil),
		"scalar.npy":  array("<f4", false, "()", le(7)),
		"note.txt":    []byte("no array"),
	}))
	strided := put(t, dir, "f.npy", array("<f4", true, "(2, 3)", le(0, 3, 1, 4, 2, 5)))
	row := string(le(0, 1, 2, 3, 4, 5))
	half := "\x00\x00\x00\x3c\x00\x40\x00\x42\x00\x44\x00\x45"
	for _, test := range []struct {
		in, dtype string
		want      map[string]string
	}{
		{in, "", map[string]string{
			"plain": "F32[2 3]" + row, "fortran": "F32[2 3]" + row, "big": "I16[2]\x01\x00\x02\x00", "empty": "F32[0 3]", "scalar": "F32[]" + string(le(7)),
		}},
		{in, "f16", map[string]string{
			"plain": "F16[2 3]" + half, "fortran": "F16[2 3]" + half, "big": "I16[2]\x01\x00\x02\x00", "empty": "F16[0 3]", "scalar": "F16[]\x00\x47",
		}},
		{strided, "", map[string]string{"f": "F32[2 3]" + row}},
		{strided, "f16", map[string]string{"f": "F16[2 3]" + half}},
		{put(t, dir, "q.gguf", ggufOf(8, 256/32*34)), "bf16", map[string]string{"w": "BF16[256]" + strings.Repeat("\x00", 512)}},
	} {
		out := filepath.Join(dir, "out.safetensors")
		got := f.succeed(t, "export", "--force", "--dtype", test.dtype, test.in, out)
		has := content(t, out)
		if len(has) != len(test.want) {
			t.Errorf("%s: %q", test.in, has)
		}
		for name, want := range test.want {
			if has[name] != want {
				t.Errorf("%s as %q: %s is %q, want %q", test.in, test.dtype, name, has[name], want)
			}
		}
		if finding := "1 finding in the source, of which nothing was exported: modelfs inspect --check " + in + "\n"; strings.Contains(got, finding) != (test.in == in) {
			t.Error(got)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	in := func(name string, b []byte) string { return put(t, dir, name, b) }
	out := func(name string) string { return filepath.Join(dir, name) }
	in("there.safetensors", nil)
	in("shards.safetensors.index.json", nil)
	in("old-00001-of-00002.safetensors", nil)
	if err := os.Mkdir(out("folder.safetensors"), 0o755); err != nil {
		t.Fatal(err)
	}
	complexes := in("c.npy", array("<c16", false, "(1,)", make([]byte, 16)))
	before := names(t, dir)
	for _, test := range []struct {
		code int
		args []string
		want string
	}{
		{2, []string{shipped}, "export: MODEL|FILE OUT.safetensors is missing"},
		{2, []string{shipped, out("a.bin")}, "does not end in .safetensors"},
		{2, []string{shipped, dir + "/.safetensors"}, "does not end in .safetensors"},
		{2, []string{shipped, out("a.safetensors"), "--dtype", "f8"}, `unknown type "f8"`},
		{2, []string{shipped, out("a.safetensors"), "--shard-size", "5G"}, "did you mean 5GiB"},
		{1, []string{out("nothing"), out("a.safetensors")}, "no such file"},
		{1, []string{shipped, out("no/a.safetensors")}, "no such file"},
		{1, []string{shipped, out("there.safetensors")}, "there.safetensors exists; --force overwrites it"},
		{1, []string{shipped, out("folder.safetensors"), "--force"}, "folder.safetensors is there, and no file"},
		{1, []string{shipped, out("shards.safetensors"), "--force"}, "shards.safetensors.index.json is of another export of that name"},
		{1, []string{shipped, out("old.safetensors"), "--force"}, "old-00001-of-00002.safetensors is of another export of that name"},
		{1, []string{shipped, out("there.safetensors"), "--force", "--shard-size", "100KiB"}, "there.safetensors is of another export"},
		{1, []string{in("bad.safetensors", []byte("x")), out("a.safetensors")}, "safetensors: at byte"},
		{1, []string{in("k.h5", []byte("x")), out("a.safetensors")}, "convert it"},
		{1, []string{complexes, out("a.safetensors")}, `"c" is C128, which is no dtype of safetensors`},
		{1, []string{in("q.gguf", ggufOf(2, 256/32*18)), out("a.safetensors")}, "export with --dtype f32"},
		{1, []string{in("iq.gguf", ggufOf(16, 66)), out("a.safetensors"), "--dtype", "f32"}, `"w" is IQ2_XXS, which nothing here converts`},
	} {
		if got := f.fail(t, test.code, append([]string{"export"}, test.args...)...); !strings.Contains(got, test.want) {
			t.Errorf("%q: %s, want %s", test.args, got, test.want)
		}
	}
	for _, name := range names(t, dir) {
		if !slices.Contains(before, name) && !slices.Contains([]string{"bad.safetensors", "k.h5", "q.gguf", "iq.gguf"}, name) {
			t.Errorf("%s is left", name)
		}
	}
}

// TestExportForce: what was there stays until all of the new is there.
func TestExportForce(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	out := put(t, dir, "out.safetensors", []byte("old"))
	f.fail(t, 1, "export", shipped, out)
	if b, _ := os.ReadFile(out); string(b) != "old" {
		t.Errorf("%q", b)
	}
	f.succeed(t, "export", "--force", shipped, out)
	if len(content(t, out)) != 15 {
		t.Error("it is not whole")
	}
	in := put(t, dir, "in.safetensors", must(os.ReadFile(shipped))(t))
	f.succeed(t, "export", "--force", in, in) // over itself
	if len(content(t, in)) != 15 {
		t.Error("it is not whole")
	}
	for range 2 {
		f.succeed(t, "export", "--force", "--shard-size", "256KiB", shipped, filepath.Join(dir, "s.safetensors"))
	}
	if got := names(t, dir); len(got) < 5 || strings.HasPrefix(got[0], ".") {
		t.Errorf("%q", got)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// begin is an export of a copy of the shipped model, planned and not run.
func begin(t *testing.T, f *fixture, dir string, shard int64) (e *export, source string) {
	t.Helper()
	source = put(t, t.TempDir(), "in.safetensors", must(os.ReadFile(shipped))(t))
	c := cli.NewContext(f.app(), nil, nil)
	c.Context = t.Context()
	o := must(f.find(c, source))(t)
	e = &export{stem: filepath.Join(dir, "out"), from: must(o.tensors(t.Context()))(t)}
	if err := e.plan(shard); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.from.close)
	return e, source
}

// TestExportChanged: an origin that changes at any time makes it fail.
func TestExportChanged(t *testing.T) {
	for _, after := range []int{0, 1} {
		dir := t.TempDir()
		e, source := begin(t, newFixture(t), dir, 0)
		opens, open := 0, e.from.openFile
		e.from.openFile = func(ctx context.Context, name string) (*os.File, error) {
			if opens == after {
				put(t, filepath.Dir(source), "in.safetensors", make([]byte, 10))
			}
			opens++
			f, err := open(ctx, name)
			if after == 1 { // once it is open
				if err := os.Chtimes(source, time.Time{}, time.Unix(1, 0)); err != nil {
					t.Error(err)
				}
			}
			return f, err
		}
		if err := e.run(t.Context(), false); !errors.Is(err, sources.ErrReplaced) || !strings.Contains(err.Error(), "in.safetensors changed during the export, nothing was written") {
			t.Error(err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// dying is a context that is cancelled at the n-th look at it.
type dying struct {
	context.Context
	n int
}

func (d *dying) Err() error {
	if d.n--; d.n < 0 {
		return context.Canceled
	}
	return nil
}

// TestExportCancelled: wherever it is.
func TestExportCancelled(t *testing.T) {
	f := newFixture(t)
	for n := 0; ; n++ {
		dir := t.TempDir()
		e, _ := begin(t, f, dir, 512<<10)
		err := e.run(&dying{t.Context(), n}, false)
		if left := names(t, dir); err == nil && len(left) == 4 && n > 15 {
			return
		} else if len(left) > 0 || !errors.Is(err, context.Canceled) {
			t.Fatalf("at %d: %v, left: %q", n, err, left)
		}
		if n < 15 && e.done.Load() > e.layout.Total*int64(n)/10 {
			t.Errorf("cancelled at %d, %d bytes were written", n, e.done.Load())
		}
	}
}

// TestExportInterrupted: Ctrl-C while a file of a mount waits for its load.
func TestExportInterrupted(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	f.write(t, "tensors/openai/whisper-base/index.json", `{"generation": "g", "tensors": [{"name": "w", "path": "w", "dtype": "U8", "shape": [2], "nbytes": 2}], "error": null}`)
	slow := filepath.Join(f.mount, "tensors/openai/whisper-base/w")
	if err := unix.Mkfifo(slow, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		for len(must(os.ReadDir(dir))(t)) == 0 {
			time.Sleep(time.Millisecond)
		}
		_ = unix.Kill(os.Getpid(), unix.SIGINT)
	}()
	if got := f.fail(t, 1, "export", "openai/whisper-base", filepath.Join(dir, "out.safetensors")); got != "modelfs: export openai/whisper-base: interrupted, nothing was written\n" {
		t.Error(got)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if w, err := unix.Open(slow, unix.O_WRONLY|unix.O_NONBLOCK, 0); err == nil { // let the open go
		unix.Close(w)
	}
}

// TestExportNoRoom: on a filesystem that is too small.
func TestExportNoRoom(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("modelfs-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=512k"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	f := newFixture(t)
	for _, shard := range []string{"0", "256KiB"} {
		got := f.fail(t, 1, "export", "--shard-size", shard, shipped, filepath.Join(dir, "out.safetensors"))
		if !strings.Contains(got, "no room in "+dir+" for 1.") || !strings.Contains(got, "no space left on device") {
			t.Error(got)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
	e, _ := begin(t, f, dir, 0)
	if err := e.run(t.Context(), false); !errors.Is(err, unix.ENOSPC) || e.done.Load() > 0 {
		t.Error(err, e.done.Load())
	}
	// Where nothing can be had in advance, the write says it.
	e.layout.Files[0].Size = 4096
	if err := e.run(t.Context(), false); !errors.Is(err, unix.ENOSPC) || e.done.Load() == 0 {
		t.Error(err, e.done.Load())
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestExportInMount: of a mount, the tensor files are read.
func TestExportInMount(t *testing.T) {
	f := newFixture(t)
	index := func(path, name, generation string) {
		f.write(t, "tensors/openai/whisper-base/index.json", `{"model": "openai/whisper-base", "generation": "`+generation+`", "tensors": [
		{"name": "`+name+`", "path": "`+path+`", "dtype": "F16", "shape": [2, 1], "strides": [1, 1], "nbytes": 4, "file": null, "offset": null, "contiguous": true},
		{"name": "z", "path": "z", "dtype": "U8", "shape": [], "strides": [], "nbytes": 1, "file": "m.safetensors", "offset": 100, "contiguous": false}], "error": null}`)
	}
	f.write(t, "tensors/openai/whisper-base/a%2E", "\x00\x3c\x00\x40")
	f.write(t, "tensors/openai/whisper-base/z", "z")
	index("a%2E", ".", "g")
	dir := t.TempDir()
	out := filepath.Join(dir, "out.safetensors")
	got := f.succeed(t, "export", "--dtype", "f32", "openai/whisper-base", out)
	if !strings.HasSuffix(got, "what else its files hold says modelfs inspect --check MOUNT/models/openai/whisper-base\n") {
		t.Error(got)
	}
	if has := content(t, out); has["."] != "F32[2 1]\x00\x00\x80\x3f\x00\x00\x00\x40" || has["z"] != "U8[]z" || len(has) != 2 {
		t.Errorf("%q", has)
	}
	for path, want := range map[string]string{
		"../../../x": "leads out of the mount",
		"nothing":    "it is not there any more",
	} {
		index(path, "n", "g")
		if got := f.fail(t, 1, "export", "openai/whisper-base", filepath.Join(dir, "b.safetensors")); !strings.Contains(got, want) {
			t.Error(got)
		}
	}
	index("a%2E", "\uFFFD", "g")
	if got := f.fail(t, 1, "export", "openai/whisper-base", filepath.Join(dir, "b.safetensors")); !strings.Contains(got, "may not be UTF-8") {
		t.Error(got)
	}
	index("a%2E", "n", "g")
	x := must((&origin{name: "m", mount: f.mount, folder: filepath.Join(f.mount, "tensors/openai/whisper-base")}).tensors(t.Context()))(t)
	if err := x.unchanged(t.Context()); err != nil {
		t.Error(err)
	}
	index("a%2E", "n", "h")
	if err := x.unchanged(t.Context()); !errors.Is(err, sources.ErrReplaced) {
		t.Error(err)
	}
	f.write(t, "tensors/openai/whisper-base/index.json", `{"tensors": [], "error": "bad\u001b header"}`)
	if got := f.fail(t, 1, "export", "openai/whisper-base", filepath.Join(dir, "b.safetensors")); !strings.Contains(got, "bad") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// TestCopier: in the smallest pieces and slabs it writes what it does in one.
func TestCopier(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	file := make([]byte, 20_000)
	for i := range file {
		file[i] = byte(r.Uint32()) & 0x3b
	}
	for _, test := range []struct {
		dtype   tensors.DType
		shape   []int64
		strides []int64
	}{
		{tensors.F32, []int64{7, 33}, nil},
		{tensors.F32, nil, nil},
		{tensors.F64, []int64{301}, nil},
		{tensors.Q4_K, []int64{3, 512}, nil},
		{tensors.Q8_0, []int64{3, 96}, nil},
		{tensors.F6E2M3, []int64{5, 4}, nil},
		{tensors.BOOL, []int64{333}, nil},
		{tensors.F32, []int64{33, 7}, []int64{1, 33}},
		{tensors.BF16, []int64{5, 6, 7}, []int64{1, 5, 30}},
		{tensors.F16, []int64{40, 9}, []int64{0, 1}},
		{tensors.F16, []int64{1, 1, 500}, []int64{7, 7, 2}},
		{tensors.I64, []int64{9, 8}, []int64{1, 9}},
	} {
		ts := tensors.Tensor{Name: "t", DType: test.dtype, Shape: test.shape, Strides: test.strides, Offset: 13, File: "f"}
		ts.NBytes = must(test.dtype.NBytes(test.shape))(t)
		for _, to := range []tensors.DType{test.dtype, tensors.F32, tensors.BF16} {
			made := convert.Precision(&ts, to)
			want := make([]byte, made.NBytes)
			var err error
			switch {
			case made.Maker != nil:
				err = made.Maker.Make(t.Context(), bytes.NewReader(file), want)
			case ts.Contiguous():
				copy(want, file[ts.Offset:])
			default:
				err = tensors.Gather(t.Context(), want, bytes.NewReader(file), &ts)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range []int64{1, 50, 1000, 1 << 20} {
				var got bytes.Buffer
				c := copier{ctx: t.Context(), w: &got, file: bytes.NewReader(file), piece: size, slab: size}
				if err := c.copy(&ts, made.DType); err != nil || !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%s%v to %s in pieces of %d: %d bytes, %v", test.dtype, test.shape, made.DType, size, got.Len(), err)
				}
			}
		}
	}
	short := copier{ctx: t.Context(), w: &bytes.Buffer{}, file: bytes.NewReader(file[:100]), piece: 64, slab: 64}
	if err := short.copy(&tensors.Tensor{DType: tensors.U8, Shape: []int64{101}, NBytes: 101}, tensors.U8); err == nil {
		t.Error("bytes that are not there were read")
	}
}

// TestOutputs: names that are taken in the meantime.
func TestOutputs(t *testing.T) {
	for _, force := range []bool{false, true} {
		dir := t.TempDir()
		o := &outputs{dir: dir, stem: "m", force: force}
		o.add("m-00001-of-00002.safetensors", 1)
		o.add("m-00002-of-00002.safetensors", 1)
		o.add("m.safetensors.index.json", 1)
		if err := o.create(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir); len(got) != 3 || !strings.HasPrefix(got[2], ".") {
			t.Errorf("%q", got)
		}
		taken := filepath.Join(dir, "m-00002-of-00002.safetensors")
		if err := os.Mkdir(taken, 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, taken, "x", nil)
		if force {
			put(t, dir, "m.safetensors.index.json", []byte("old"))
		}
		if err := o.commit(t.Context()); err == nil {
			t.Error("a name that is taken was given")
		}
		if err := o.discard(); err != nil {
			t.Error(err)
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("left: %q", got)
		}
	}
}

// TestOutputsAppear: a file that has appeared since is left as it is.
func TestOutputsAppear(t *testing.T) {
	dir := t.TempDir()
	o := &outputs{dir: dir, stem: "m"}
	o.add("m.safetensors", 1)
	if err := o.create(t.Context()); err != nil {
		t.Fatal(err)
	}
	theirs := put(t, dir, "m.safetensors", []byte("theirs"))
	if err := o.commit(t.Context()); err == nil || !strings.Contains(err.Error(), "m.safetensors has appeared during the export") {
		t.Error(err)
	}
	if b := must(os.ReadFile(theirs))(t); string(b) != "theirs" {
		t.Errorf("%q", b)
	}
	if err := o.discard(); err != nil || len(names(t, dir)) != 1 {
		t.Error(err, names(t, dir))
	}
}
