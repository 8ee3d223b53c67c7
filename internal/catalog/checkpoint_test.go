// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestCheckpoints: what of a model is loaded together, and which is the primary
// one.
func TestCheckpoints(t *testing.T) {
	for _, c := range []struct {
		name    string
		files   []string
		lists   map[string][]string // of shards, and the files that each names
		want    []string            // "name: files", by name
		primary string
	}{
		{"none", []string{"config.json", "tokenizer.json", "optimizer.pt"}, nil, nil, ""},
		{"one", []string{"config.json", "model.safetensors"}, nil, []string{"model.safetensors: model.safetensors"}, "model.safetensors"},
		{"GGUF", []string{"q4.gguf"}, nil, []string{"q4.gguf: q4.gguf"}, "q4.gguf"},
		{"NPZ", []string{"w.npz"}, nil, []string{"w.npz: w.npz"}, "w.npz"},
		{"several quantisations", []string{"q4.gguf", "q8.gguf"}, nil, []string{"q4.gguf: q4.gguf", "q8.gguf: q8.gguf"}, ""},
		{"the better kind", []string{"a.gguf", "b.gguf", "m.safetensors", "pytorch_model.bin", "x.onnx", "y.npz"}, nil,
			[]string{"a.gguf: a.gguf", "b.gguf: b.gguf", "m.safetensors: m.safetensors", "pytorch_model.bin: pytorch_model.bin", "x.onnx: x.onnx", "y.npz: y.npz"}, "m.safetensors"},
		{"two of the best kind hide one of the next", []string{"a.safetensors", "b.safetensors", "m.gguf"}, nil,
			[]string{"a.safetensors: a.safetensors", "b.safetensors: b.safetensors", "m.gguf: m.gguf"}, ""},
		{"two of the last kind", []string{"a.npz", "b.h5"}, nil, []string{"a.npz: a.npz", "b.h5: b.h5"}, ""},
		{"PyTorch before ONNX", []string{"a.onnx", "b.bin"}, nil, []string{"a.onnx: a.onnx", "b.bin: b.bin"}, "b.bin"},
		{"a list of shards", []string{"one.safetensors", "two.safetensors", "extra.safetensors"}, map[string][]string{"model.safetensors.index.json": {"two.safetensors", "one.safetensors"}},
			[]string{"extra.safetensors: extra.safetensors", "model.safetensors: one.safetensors two.safetensors"}, ""},
		{"a list of numbered shards", []string{"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"}, map[string][]string{"m.safetensors.index.json": {"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"}},
			[]string{"m.safetensors: m-00001-of-00002.safetensors m-00002-of-00002.safetensors"}, "m.safetensors"},
		{"a list in a folder", []string{"unet/a.bin", "unet/b.bin", "vae/a.onnx"}, map[string][]string{"unet/w.bin.index.json": {"a.bin", "b.bin"}},
			[]string{"unet/w.bin: unet/a.bin unet/b.bin", "vae/a.onnx: vae/a.onnx"}, "unet/w.bin"},
		{"a list of files in folders", []string{"x/a.bin", "y/a.bin"}, map[string][]string{"w.bin.index.json": {"x/a.bin", "y/a.bin"}},
			[]string{"w.bin: x/a.bin y/a.bin"}, "w.bin"},
		{"a list of nothing that is there", []string{"m.safetensors"}, map[string][]string{"gone.safetensors.index.json": {"a.safetensors", "b.safetensors"}},
			[]string{"m.safetensors: m.safetensors"}, "m.safetensors"},
		{"a list of what is no weight file", []string{"m.safetensors", "readme.txt"}, map[string][]string{"x.safetensors.index.json": {"readme.txt"}},
			[]string{"m.safetensors: m.safetensors"}, "m.safetensors"},
		{"a list that leads out", []string{"m-00001-of-00001.safetensors"}, map[string][]string{"m.safetensors.index.json": {"../m/m-00001-of-00001.safetensors"}},
			[]string{"m.safetensors: m-00001-of-00001.safetensors"}, "m.safetensors"},
		{"two lists of the same files", []string{"a.bin", "b.bin"}, map[string][]string{"w.bin.index.json": {"a.bin", "b.bin"}, "x.bin.index.json": {"b.bin", "a.bin"}},
			[]string{"w.bin: a.bin b.bin"}, "w.bin"},
		{"numbers without a list", []string{"m-00002-of-00003.gguf", "m-00003-of-00003.gguf", "m-00001-of-00003.gguf"}, nil,
			[]string{"m.gguf: m-00001-of-00003.gguf m-00002-of-00003.gguf m-00003-of-00003.gguf"}, "m.gguf"},
		{"two series of one stem", []string{"m-00001-of-00001.gguf", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}, nil,
			[]string{"m-00001-of-00002.gguf: m-00001-of-00002.gguf m-00002-of-00002.gguf", "m.gguf: m-00001-of-00001.gguf"}, ""},
		{"one stem, two kinds", []string{"m-00001-of-00001.gguf", "m-00001-of-00001.safetensors"}, nil,
			[]string{"m.gguf: m-00001-of-00001.gguf", "m.safetensors: m-00001-of-00001.safetensors"}, "m.safetensors"},
		{"one stem in two folders", []string{"a/m-00001-of-00001.gguf", "b/m-00001-of-00001.gguf"}, nil,
			[]string{"a/m.gguf: a/m-00001-of-00001.gguf", "b/m.gguf: b/m-00001-of-00001.gguf"}, ""},
		{"one file and a series", []string{"m.safetensors", "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"}, nil,
			[]string{"m-00001-of-00002.safetensors: m-00001-of-00002.safetensors m-00002-of-00002.safetensors", "m.safetensors: m.safetensors"}, ""},
		{"what is no series", []string{"m-1-of-2.gguf", "m-0001-of-0002.gguf", "m-00001-of-00002.gguf.bak", "00001-of-00001.gguf"}, nil,
			[]string{"00001-of-00001.gguf: 00001-of-00001.gguf", "m-0001-of-0002.gguf: m-0001-of-0002.gguf", "m-1-of-2.gguf: m-1-of-2.gguf"}, ""},
		{"hidden", []string{"w.pt", ".w.pt", ".cache/w.pt", "sub/.cache/w.pt", "sub/w.pt/x"}, nil, []string{"w.pt: w.pt"}, "w.pt"},
		{"a pipeline", []string{"model_index.json", "unet/d.safetensors", "vae/d.safetensors"}, nil,
			[]string{"unet/d.safetensors: unet/d.safetensors", "vae/d.safetensors: vae/d.safetensors"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.files("m/config.json")
			for _, f := range c.files {
				p.files("m/" + f)
			}
			for list, files := range c.lists {
				shards := make(map[string]string)
				for i, f := range files {
					shards[fmt.Sprint("t", i)] = f
				}
				p.list("m/"+list, shards)
			}
			cps := checkpoints(t, p.model())
			got := []string{}
			for _, cp := range cps.All {
				got = append(got, cp.Name+": "+strings.Join(cp.Files, " "))
				if found, ok := cps.Named(cp.Name); !ok || found != cp {
					t.Errorf("%s is not found by its name", cp.Name)
				}
				for _, f := range cp.Files {
					if cps.Of(f) != cp {
						t.Errorf("%s is not found by its file %s", cp.Name, f)
					}
				}
			}
			same(t, "checkpoints", got, c.want)
			primary := ""
			if cps.Primary != nil {
				primary = cps.Primary.Name
			}
			if primary != c.primary {
				t.Errorf("the primary checkpoint is %q, want %q", primary, c.primary)
			}
			if cps.Of("config.json") != nil || cps.Of("nothing") != nil {
				t.Error("a side file belongs to a checkpoint")
			}
			if cp, ok := cps.Named("nothing"); ok || cp != nil {
				t.Errorf("there is a checkpoint named nothing: %v", cp)
			}
		})
	}
}

// brokenLists are lists of shards by which nobody can load w.safetensors, and what
// the error says.
var brokenLists = map[string]string{
	"": "at byte 0", "{": "at byte", "null": "at byte 0", `{"weight_map": 3}`: "at byte", `{"metadata": {}}`: "no weight_map",
	`{"weight_map": {"t": "w-00001-of-00002.safetensors"}} x`: "follow the JSON",
	`{"weight_map": {"t": "w-00001-of-00002.safet`:            "at byte",
	`{"weight_map": {"t": "/etc/passwd"}}`:                    `"/etc/passwd" is not below`,
	`{"weight_map": {"t": "../m/a.safetensors"}}`:             `"../m/a.safetensors" is not below`,
	`{"weight_map": {"t": "gone.safetensors"}}`:               "gone.safetensors",
}

// A list of shards that is wrong leaves its files to their numbers, and is what is
// wrong with them.
func TestCheckpointBrokenList(t *testing.T) {
	for text, says := range brokenLists {
		p := newPlace(t)
		p.write("m/w-00001-of-00002.safetensors", safetensors("a"))
		p.write("m/w-00002-of-00002.safetensors", safetensors("b"))
		p.files("m/other.gguf")
		p.write("m/w.safetensors.index.json", []byte(text))
		m := p.model()
		cps := checkpoints(t, m)
		if cp, ok := cps.Named("w.safetensors"); !ok || len(cp.Files) != 2 || len(cps.All) != 2 || len(cps.Unused) != 0 {
			t.Errorf("with the list %q there are %d checkpoints, unused lists %v", text, len(cps.All), cps.Unused)
			continue
		}
		ix := index(t, m, "w.safetensors")
		saysAll(t, ix.Err, "w.safetensors.index.json", says)
		same(t, "tensors with the list "+text, tensors(ix), []string{})
		if ix := index(t, m, "other.gguf"); ix.Err != nil {
			t.Errorf("with the list %q the other checkpoint is wrong: %v", text, ix.Err)
		}
	}
}

// A list that is wrong counts for nothing where the file that it is about is there,
// or nothing is: it is kept as unused.
func TestCheckpointUnusedList(t *testing.T) {
	for text, says := range brokenLists {
		for _, c := range []struct{ file, list string }{{"w.safetensors", "w.safetensors.index.json"}, {"other.gguf", "sub/w.safetensors.index.json"}} {
			p := newPlace(t)
			p.files("m/" + c.file)
			p.write("m/"+c.list, []byte(text))
			m := p.model()
			if ix := index(t, m, ""); ix.Err != nil || len(ix.Index.Tensors) != 1 {
				t.Errorf("with %s %q: %d tensors, %v", c.list, text, len(ix.Index.Tensors), ix.Err)
			}
			cps := checkpoints(t, m)
			if len(cps.All) != 1 || len(cps.Unused) != 1 {
				t.Fatalf("with %s %q there are %d checkpoints, unused lists %v", c.list, text, len(cps.All), cps.Unused)
			}
			if cps.Unused[0].List != c.list {
				t.Errorf("the unused list is %s, want %s", cps.Unused[0].List, c.list)
			}
			saysAll(t, cps.Unused[0], c.list, strings.ReplaceAll(says, "at byte 0", "at byte"))
		}
	}
	p := newPlace(t) // half of another form of the model
	p.files("m/w.safetensors", "m/w-00001-of-00002.safetensors")
	p.list("m/w.safetensors.index.json", map[string]string{"a": "w-00001-of-00002.safetensors", "b": "w-00002-of-00002.safetensors"})
	if ix := index(t, p.model(), "w.safetensors"); ix.Err != nil {
		t.Error(ix.Err)
	}
}

// A list that is repaired ends the error, one that breaks brings it back.
func TestCheckpointListRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("m/w-00001-of-00002.safetensors", safetensors("a"))
		p.write("m/w-00002-of-00002.safetensors", safetensors("b"))
		m := p.model()
		for range 2 {
			p.list("m/w.safetensors.index.json", map[string]string{"a": "w-00001-of-00002.safetensors", "b": "w-00002-of-00002.safetensors"})
			time.Sleep(time.Second)
			ix := index(t, m, "")
			if ix.Err != nil || m.LastIndexError() != nil {
				t.Errorf("the list is right: %v, last %v", ix.Err, m.LastIndexError())
			}
			same(t, "tensors", tensors(ix), []string{"a", "b"})
			p.write("m/w.safetensors.index.json", []byte("{"))
			time.Sleep(time.Second)
			saysAll(t, index(t, m, "").Err, "w.safetensors.index.json")
			saysAll(t, m.LastIndexError(), "w.safetensors.index.json")
		}
	})
}

// TestCheckpointMissingShards: what is wrong with a list of shards is the error of
// the index, which says what is missing.
func TestCheckpointMissingShards(t *testing.T) {
	const one, two, four = "m/w-00001-of-00004.safetensors", "m/w-00002-of-00004.safetensors", "m/w-00004-of-00004.safetensors"
	p := newPlace(t)
	p.files(one, two, four)
	m := p.model()
	ix := index(t, m, "w.safetensors")
	saysAll(t, ix.Err, "w.safetensors", "3 of 4 shards")
	if len(ix.Index.Tensors) != 0 || ix.Tree == nil || ix.Hash() == 0 {
		t.Errorf("with shards missing: %+v", ix)
	}

	p = newPlace(t)
	p.files("m/a.safetensors")
	p.list("m/w.safetensors.index.json", map[string]string{"1": "a.safetensors", "2": "b.safetensors", "3": "c.safetensors"})
	ix = index(t, p.model(), "w.safetensors")
	saysAll(t, ix.Err, "w.safetensors.index.json", "2 of its files", "b.safetensors, c.safetensors")
	if strings.Contains(ix.Err.Error(), "a.safetensors,") || len(ix.Index.Tensors) != 0 {
		t.Errorf("with shards missing: %v, %d tensors", ix.Err, len(ix.Index.Tensors))
	}
}

// A shard that arrives ends the error, one that goes brings it back.
func TestCheckpointShardArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("m/w-00001-of-00002.safetensors", safetensors("a"))
		m := p.model()
		wrong := index(t, m, "")
		saysAll(t, wrong.Err, "1 of 2 shards")
		saysAll(t, m.LastIndexError(), "1 of 2 shards")
		p.write("m/w-00002-of-00002.safetensors", safetensors("b"))
		time.Sleep(time.Second)
		whole := index(t, m, "")
		if whole.Err != nil || m.LastIndexError() != nil || whole.Generation == wrong.Generation {
			t.Errorf("with both: error %v, last %v, generations %s and %s", whole.Err, m.LastIndexError(), wrong.Generation, whole.Generation)
		}
		same(t, "tensors", tensors(whole), []string{"a", "b"})
		p.remove("m/w-00001-of-00002.safetensors")
		time.Sleep(time.Second)
		saysAll(t, index(t, m, "").Err, "1 of 2 shards")
	})
}

// TestCheckpointsKept: while nothing changes a checkpoint is one value; what
// changes is seen a second later at the latest.
func TestCheckpointsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.files("m/w.safetensors", "m/config.json")
		m := p.model()
		first := checkpoints(t, m)
		time.Sleep(time.Minute)
		p.files("m/readme.txt")
		p.replace("m/w.safetensors", safetensors("other"))
		time.Sleep(time.Second)
		if checkpoints(t, m).Primary != first.Primary {
			t.Error("the same files are another checkpoint")
		}
		p.files("m/x.gguf")
		time.Sleep(time.Second)
		if cps := checkpoints(t, m); len(cps.All) != 2 || cps.Primary.Name != "w.safetensors" {
			t.Errorf("with one more there are %d", len(cps.All))
		}
		p.files("m/x.safetensors")
		time.Sleep(time.Second)
		if cps := checkpoints(t, m); len(cps.All) != 3 || cps.Primary != nil {
			t.Errorf("with a second of the best kind there are %d, primary %v", len(cps.All), cps.Primary)
		}
		p.remove("m/w.safetensors")
		time.Sleep(time.Second)
		if cps := checkpoints(t, m); len(cps.All) != 2 || cps.Primary.Name != "x.safetensors" {
			t.Errorf("without the first there are %d", len(cps.All))
		}
		p.remove("m")
		time.Sleep(time.Second)
		if cps, err := m.Checkpoints(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without its folder a model has the checkpoints %v, error %v", cps, err)
		}
	})
}

func TestCheckpointsInterrupted(t *testing.T) {
	p := newPlace(t)
	p.files("m/sub/w.gguf", "m/config.json")
	m := p.model()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if cps, err := m.Checkpoints(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, error %v", cps, err)
	}
	if cps := checkpoints(t, m); len(cps.All) != 1 {
		t.Errorf("afterwards there are %d checkpoints", len(cps.All))
	}
}

func TestCheckpointBytes(t *testing.T) {
	p := newPlace(t)
	p.write("m/w-00001-of-00002.bin", make([]byte, 1000))
	p.write("m/w-00002-of-00002.bin", make([]byte, 24))
	p.write("m/other.onnx", make([]byte, 5))
	m := p.model()
	if n := checkpoint(t, m, "").Bytes(t.Context()); n != 1024 {
		t.Errorf("%d bytes", n)
	}
	if n := checkpoint(t, m, "other.onnx").Bytes(t.Context()); n != 5 {
		t.Errorf("the other one has %d bytes", n)
	}
}

// TestCheckpointStat: the index of several files may be read by who may read all
// of them.
func TestCheckpointStat(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	type owned struct {
		uid, gid int
		mode     os.FileMode
	}
	early, late := time.Unix(1e9, 0), time.Unix(1.1e9, 0)
	for _, c := range []struct {
		name     string
		one, two owned
		mode     uint32
	}{
		{"equal", owned{1, 2, 0o640}, owned{1, 2, 0o640}, 0o640},
		{"other modes", owned{1, 2, 0o664}, owned{1, 2, 0o604}, 0o604},
		{"other groups", owned{1, 2, 0o644}, owned{1, 3, 0o644}, 0o604},
		{"other groups, one private", owned{1, 2, 0o640}, owned{1, 3, 0o640}, 0o600},
		{"other owners", owned{1, 2, 0o644}, owned{4, 2, 0o644}, 0o004},
		{"other owners, private", owned{1, 2, 0o600}, owned{4, 2, 0o600}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.check(errors.Join(os.Chmod(p.dir, 0o755), os.Chmod(p.path(".."), 0o755)))
			p.write("m/w-00001-of-00002.bin", make([]byte, 10))
			p.write("m/w-00002-of-00002.bin", make([]byte, 20))
			for file, o := range map[string]owned{"m/w-00001-of-00002.bin": c.one, "m/w-00002-of-00002.bin": c.two} {
				p.check(errors.Join(os.Chown(p.path(file), o.uid, o.gid), os.Chmod(p.path(file), o.mode)))
			}
			p.check(errors.Join(os.Chtimes(p.path("m/w-00001-of-00002.bin"), early, early), os.Chtimes(p.path("m/w-00002-of-00002.bin"), late, late)))
			m := p.model()
			first, err := m.Stat(t.Context(), "w-00001-of-00002.bin")
			p.check(err)
			if first.Mode != uint32(c.one.mode) {
				t.Skipf("%s is not open to everybody: set TMPDIR", p.dir)
			}
			st, err := checkpoint(t, m, "").Stat(t.Context())
			if err != nil || st.Mode != c.mode || int(st.Uid) != c.one.uid || int(st.Gid) != c.one.gid || !st.Mtime.Equal(late) {
				t.Errorf("%+v, error %v, want the mode %04o", st, err, c.mode)
			}
		})
	}
}
