// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// downloads is a folder to check, which is the working directory.
type downloads struct {
	t *testing.T
	*fixture
}

func newDownloads(t *testing.T) *downloads {
	t.Helper()
	d := &downloads{t, newFixture(t)}
	t.Chdir(t.TempDir())
	return d
}

func (d *downloads) file(name string, content []byte) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *downloads) link(target, name string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		d.t.Fatal(err)
	}
}

// finds checks that inspect --check prints these lines, in any order.
func (d *downloads) finds(path string, want ...string) {
	d.t.Helper()
	code, stdout, stderr := d.invoke("inspect", "--check", path)
	got := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	if len(want) == 0 {
		if code != 0 || len(got) != 1 || !strings.HasSuffix(got[0], ": nothing found") {
			d.t.Errorf("%s: exit %d, %s%s, want nothing", path, code, stdout, stderr)
		}
		return
	}
	slices.Sort(got)
	slices.Sort(want)
	if code != 1 || !slices.Equal(got, want) {
		d.t.Errorf("%s: exit %d, %q, want %q", path, code, got, want)
	}
}

// oneTensor is a safetensors file with one tensor of four bytes.
func oneTensor(name string) []byte {
	header := fmt.Sprintf(`{%q:{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, name)
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), 1, 2, 3, 4)
}

// oneExternal is an ONNX model with one tensor of four bytes that lies in another file.
func oneExternal(location string) []byte {
	field := func(number byte, b ...byte) []byte { return append([]byte{number<<3 | 2, byte(len(b))}, b...) }
	entry := append(field(1, []byte("location")...), field(2, []byte(location)...)...)
	tensor := slices.Concat([]byte{1 << 3, 4, 2 << 3, 2}, field(8, 'w'), field(13, entry...), []byte{14 << 3, 1})
	return append([]byte{1 << 3, 8}, field(7, field(5, tensor...)...)...)
}

// TestCheckLinks: no symlink makes the walk repeat or leave the folder, and each that
// might make another program's is a line.
func TestCheckLinks(t *testing.T) {
	d := newDownloads(t)
	sound := oneTensor("w")
	d.file("elsewhere/model.safetensors", sound)
	d.file("m/real/model.safetensors", sound)
	for _, link := range []struct{ target, name string }{
		{"real", "m/sibling"}, {"real/model.safetensors", "m/file.safetensors"}, {"..", "m/real/up"}, {".", "m/self"},
		{"self", "m/loop/self"}, {"nothing", "m/dangling.safetensors"}, {"../elsewhere", "m/out"},
		{"../elsewhere/model.safetensors", "m/out.safetensors"}, {"/dev/null", "m/null"}, {"m", "named"},
	} {
		d.link(link.target, link.name)
	}
	at := unlinked(".")
	for _, dir := range []string{"m", "named"} {
		d.finds(dir,
			dir+"/dangling.safetensors: is a symlink that leads nowhere: no such file or directory",
			dir+"/loop/self: is a symlink that leads nowhere: too many levels of symbolic links",
			dir+"/null: is a symlink out of the folder, to /dev/null",
			dir+"/out: is a symlink out of the folder, to "+at+"/elsewhere",
			dir+"/out.safetensors: is a symlink out of the folder, to "+at+"/elsewhere/model.safetensors",
			dir+"/real/up: is a symlink to a folder that it is in: who follows it comes to no end",
			dir+"/self: is a symlink to a folder that it is in: who follows it comes to no end",
		)
	}
	d.finds("m/sibling", "m/sibling/up: is a symlink out of the folder, to "+at+"/m")
	d.finds("m/file.safetensors")
	d.finds("m/out")
	d.finds("m/dangling.safetensors", "m/dangling.safetensors: cannot be read: stat m/dangling.safetensors: no such file or directory")
	d.file("sl/a/config.json", nil)
	d.link("a", "sl/b")
	d.finds("sl")
	d.finds("sl/b")
}

// TestCheckShards: what is wrong between the files of a checkpoint is found, once.
func TestCheckShards(t *testing.T) {
	const one, two, list = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"
	d := newDownloads(t)
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  []string
	}{
		{"sound", map[string][]byte{one: oneTensor("a"), two: oneTensor("b"), list: []byte(`{"weight_map":{"a":"` + one + `","b":"` + two + `"}}`)}, nil},
		{"missing", map[string][]byte{one: oneTensor("a")}, []string{"model.safetensors: 1 of 2 shards are there"}},
		{"twice", map[string][]byte{one: oneTensor("a"), two: oneTensor("a")}, []string{`model.safetensors: tensor "a" is in IN` + one + " and in IN" + two}},
		{"broken", map[string][]byte{one: oneTensor("a"), two: nil}, []string{two + ": at byte 0: safetensors: 8 bytes are needed, 0 are left"}},
		{"both", map[string][]byte{one: oneTensor("a"), two: nil, list: nil}, []string{
			two + ": at byte 0: safetensors: 8 bytes are needed, 0 are left", list + ": at byte 0: safetensors: 1 bytes are needed, 0 are left",
		}},
		{"list-cut", map[string][]byte{one: oneTensor("a"), two: oneTensor("b"), list: []byte(`{"weight_map":{"a":"mod`)}, []string{list + ": at byte 23: safetensors: 1 bytes are needed, 0 are left"}},
		{"list-out", map[string][]byte{one: oneTensor("a"), two: oneTensor("b"), list: []byte(`{"weight_map":{"a":"/etc/passwd"}}`)}, []string{list + `: at byte 15: safetensors: the shard "/etc/passwd" is not below the model's folder`}},
		{"list-missing", map[string][]byte{"a.safetensors": oneTensor("a"), list: []byte(`{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}`)}, []string{list + ": 1 of its files are not there: b.safetensors: file does not exist"}},
		{"list-unused", map[string][]byte{"model.safetensors": oneTensor("a"), list: []byte(`{"weight_map":{"a":"../x/model.safetensors"}}`)}, []string{list + `: at byte 15: safetensors: the shard "../x/model.safetensors" is not below the model's folder`}},
		{"list-alone", map[string][]byte{list: []byte(`{"weight_map":{"a":"` + one + `"}}`)}, []string{list + ": 1 of its files are not there: " + one + ": file does not exist"}},
	} {
		for _, below := range []string{"", "deep/unet/"} { // a model, and a part of one
			dir := c.name + "/" + strings.ReplaceAll(below, "unet/", "")
			d.file(dir+"config.json", nil)
			var want []string
			for _, line := range c.want {
				want = append(want, c.name+"/"+below+strings.ReplaceAll(line, "IN", strings.TrimPrefix(below, "deep/")))
			}
			for name, content := range c.files {
				d.file(c.name+"/"+below+name, content)
			}
			d.finds(c.name, want...)
			if err := os.RemoveAll(c.name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCheckExternal: the data of an ONNX model belong to it, whatever they are called.
func TestCheckExternal(t *testing.T) {
	d := newDownloads(t)
	for _, name := range []string{"w.data", "weights", "sub/w.raw", "model.onnx_data"} {
		d.file("m/model.onnx", oneExternal(name))
		d.file("m/"+name, []byte{1, 2, 3, 4})
		d.finds("m")
		d.finds("m/model.onnx")
		d.file("m/"+name, []byte{1, 2, 3})
		short := "m/model.onnx: tensor \"w\" is 4 bytes at 0 of " + name + ", which has 3"
		d.finds("m", short)
		d.finds("m/model.onnx", short)
		if err := os.RemoveAll("m"); err != nil {
			t.Fatal(err)
		}
	}
	d.file("m/w.data", nil)
	d.finds("m", `m/w.data: of no known kind (".data"): nothing is known of what it does`)
}

// TestCheckHub: of a Hugging Face cache the files are checked by the names that
// programs open them by; what lies there besides cannot be opened by one.
func TestCheckHub(t *testing.T) {
	d := newDownloads(t)
	const repo, blob = "hub/models--org--m/", "../../blobs/"
	d.file("hub/CACHEDIR.TAG", nil)
	d.file("hub/version.txt", []byte("1"))
	d.file("hub/.locks/models--org--m/1.lock", nil)
	d.file(repo+"refs/main", []byte("new"))
	d.file(repo+"refs/pr/1", []byte("old"))
	d.file(repo+".no_exist/new/pytorch_model.bin", nil)
	d.file(repo+"blobs/1", oneTensor("w"))
	d.file(repo+"blobs/2", oneExternal("w.data"))
	d.file(repo+"blobs/3", []byte{1, 2, 3, 4})
	d.file(repo+"blobs/4", []byte("no weights"))
	d.file(repo+"blobs/5.incomplete", []byte("orphan"))
	d.link(blob+"1", repo+"snapshots/new/model.safetensors")
	d.link("../"+blob+"2", repo+"snapshots/new/onnx/model.onnx")
	d.link("../"+blob+"3", repo+"snapshots/new/onnx/w.data")
	d.link(blob+"1", repo+"snapshots/old/model.safetensors")
	for _, path := range []string{"hub", repo, repo + "snapshots", repo + "snapshots/new", repo + "snapshots/new/onnx", repo + "snapshots/new/onnx/model.onnx"} {
		d.finds(path)
	}
	d.link(blob+"4", repo+"snapshots/old/other.safetensors")
	d.link(blob+"4", repo+"snapshots/old/program.exe")
	d.link("/etc/passwd", repo+"snapshots/old/passwd.json")
	d.finds("hub",
		repo+"snapshots/old/other.safetensors: at byte 0: safetensors: a header of 7523097587056930670 bytes, over the limit of 100000000",
		repo+`snapshots/old/program.exe: of no known kind (".exe"): nothing is known of what it does`,
		repo+"snapshots/old/passwd.json: is a symlink out of the folder, to /etc/passwd",
	)
}
