// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// wrongFile is a weight file that no loader takes.
type wrongFile struct {
	name    string // of the file
	content []byte
	at      int64 // the byte that the error must name; -1: whichever
}

func wrongFiles() map[string]wrongFile {
	good := weights.Safetensors(weights.Bytes("a", 1, 5000), weights.Bytes("b", 2, 100))
	entry := func(name string, from, to int) string {
		return fmt.Sprintf(`%q:{"dtype":"U8","shape":[%d],"data_offsets":[%d,%d]}`, name, to-from, from, to)
	}
	st := func(header string, data int) wrongFile {
		return wrongFile{"model.safetensors", append(weights.Framed(header), make([]byte, data)...), -1}
	}
	length := func(n uint64, rest string) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), rest...) }
	gguf := weights.GGUF(weights.Tensor{Name: "w", DType: "F32", Shape: []int64{64}, Data: weights.Pattern(1, 256)})
	gg := func(b []byte, at int64) wrongFile { return wrongFile{"model.gguf", b, at} }
	huge := func(after []byte) []byte { return binary.LittleEndian.AppendUint64(after, math.MaxInt64-5) }

	return map[string]wrongFile{
		"empty":            {"model.safetensors", nil, 0},
		"three-bytes":      {"model.safetensors", []byte{1, 2, 3}, 0},
		"cut-header":       {"model.safetensors", good[:20], 0},
		"cut-data":         {"model.safetensors", good[:len(good)-1], int64(len(good) - 1)},
		"trailing":         {"model.safetensors", append(slices.Clone(good), 0), int64(len(good))},
		"length-huge":      {"model.safetensors", length(math.MaxUint64, "{}"), 0},
		"length-over":      {"model.safetensors", length(100_000_001, "{}"), 0},
		"length-zero":      {"model.safetensors", length(0, ""), -1},
		"no-object":        {"model.safetensors", weights.Framed(`[1]`), 8},
		"no-json":          {"model.safetensors", weights.Framed(`{"a":`), -1},
		"no-utf8":          {"model.safetensors", weights.Framed("{\"\xff\":1}"), -1},
		"deep":             st(`{"a":`+strings.Repeat("[", 100_000), 0),
		"hole":             st("{"+entry("a", 0, 8)+","+entry("b", 16, 24)+"}", 24),
		"overlap":          st("{"+entry("a", 0, 8)+","+entry("b", 4, 12)+"}", 12),
		"out-of-range":     st("{"+entry("a", 0, 4096)+"}", 8),
		"backwards":        st(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[8,4]}}`, 8),
		"negative":         st(`{"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}`, 4),
		"overflow":         st(`{"a":{"dtype":"F64","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,0]}}`, 0),
		"wrong-size":       st(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}`, 4),
		"dtype":            st(`{"a":{"dtype":"U13","shape":[4],"data_offsets":[0,4]}}`, 4),
		"twice":            st("{"+entry("a", 0, 4)+","+entry("a", 4, 8)+"}", 8),
		"field-missing":    st(`{"a":{"dtype":"U8","shape":[4]}}`, 4),
		"pickle-in-it":     {"model.safetensors", []byte("\x80\x04\x95cposix\nsystem\n(S'touch /tmp/pwned'\ntR."), 0},
		"gguf-empty":       gg(nil, 0),
		"gguf-magic":       gg([]byte("GGUX\x03\x00\x00\x00"), 0),
		"gguf-version":     gg(weights.GGUFStart(77, 0, 0), 4),
		"gguf-big-endian":  gg(weights.GGUFStart(0x03000000, 0, 0), 4),
		"gguf-counts":      gg(weights.GGUFStart(3, math.MaxUint64, 0), 8),
		"gguf-keys":        gg(weights.GGUFStart(3, 0, 1<<60), 16),
		"gguf-string":      gg(append(huge(weights.GGUFStart(3, 0, 1)), make([]byte, 64)...), -1),
		"gguf-cut-header":  gg(gguf[:40], -1),
		"gguf-cut-data":    gg(gguf[:len(gguf)-200], -1),
		"gguf-cut-to-some": gg(gguf[:len(gguf)-256], -1),
	}
}

var namesByte = regexp.MustCompile(`at byte (\d+)`)

// TestMalformed: of a weight file that is wrong, tensors/ shows index.json alone;
// index.json, the attribute and inspect say the same and name the byte; the file
// itself reads, and a sound model beside it is none the worse.
// The control: that sound model has tensors and no error.
func TestMalformed(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		sound := weights.Safetensors(weights.Bytes("w", 1, 1000))
		p.write("sound/model.safetensors", sound)
		files := wrongFiles()
		for name, f := range files {
			p.write(name+"/"+f.name, f.content)
		}
		d := p.start()
		before := peak(t, d.daemonPID())
		for name, f := range files {
			d.checkMalformed(t, name, f)
		}
		if grown := peak(t, d.daemonPID()) - before; grown > 64<<20 {
			t.Errorf("wrong headers made the daemon grow by %d bytes", grown)
		}
		if s := d.status(); s.of(t, "hole").Error == nil || s.of(t, "sound").Error != nil {
			t.Error("status.json does not say which model is wrong")
		}
		if ix := d.index("sound"); ix.Error != nil || len(ix.Tensors) != 1 {
			t.Errorf("the sound model: %d tensors, error %v", len(ix.Tensors), ix.Error)
		}
		if got := must(d.read(d.at("tensors/sound/w")))(t); !bytes.Equal(got, sound[len(sound)-1000:]) {
			t.Error("the sound model's tensor has other bytes")
		}
		if _, err := d.get(d.model("sound"), "error"); !errors.Is(err, unix.ENODATA) {
			t.Errorf("the sound model has an error: %v", err)
		}
	})
}

func (d *daemon) checkMalformed(t *testing.T, name string, f wrongFile) {
	t.Helper()
	if names := must(d.list(d.at("tensors", name)))(t); !slices.Equal(names, []string{"index.json"}) {
		t.Errorf("%s: tensors/ holds %q, want index.json alone", name, names)
	}
	ix := d.index(name)
	if ix.Error == nil || len(ix.Tensors) > 0 || ix.Model != name {
		t.Errorf("%s: index.json of %s has %d tensors and the error %v", name, ix.Model, len(ix.Tensors), ix.Error)
		return
	}
	place := namesByte.FindStringSubmatch(*ix.Error)
	if place == nil {
		t.Errorf("%s: the error names no byte: %s", name, *ix.Error)
		return
	}
	at := must(strconv.ParseInt(place[1], 10, 64))(t)
	if f.at >= 0 && at != f.at || at < 0 || at > int64(len(f.content)) {
		t.Errorf("%s: the error names byte %d, want %d of %d: %s", name, at, f.at, len(f.content), *ix.Error)
	}
	if text, err := d.get(d.model(name), "error"); err != nil || text != *ix.Error {
		t.Errorf("%s: the attribute says %q (%v), index.json %q", name, text, err, *ix.Error)
	}
	for _, what := range []string{name, filepath.Join(d.models, name, f.name)} {
		stdout, stderr, code := d.run("inspect", what)
		if code != 1 || !strings.Contains(stdout+stderr, "at byte "+place[1]) {
			t.Errorf("inspect %s exits %d and says %q, want 1 and byte %s", what, code, stdout+stderr, place[1])
		}
	}
	if stdout, _, code := d.run("inspect", "--json", name); code != 1 || !json.Valid([]byte(stdout)) {
		t.Errorf("inspect --json %s exits %d and prints %q", name, code, stdout)
	}
	if got, err := d.read(d.model(name, f.name)); err != nil || !bytes.Equal(got, f.content) {
		t.Errorf("%s: the file itself: %v, or other bytes", name, err)
	}
}

// peak is the most memory that a process ever had.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	for line := range strings.Lines(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(t))) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return must(strconv.ParseInt(strings.Fields(rest)[0], 10, 64))(t) << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestBrokenShards: a list of shards that names what is not there, or what is not
// below the model, hides no file and shows none that is not the model's.
func TestBrokenShards(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		shard := weights.Safetensors(weights.Bytes("a", 1, 100))
		p.write("missing/model-00001-of-00002.safetensors", shard)
		p.write("missing/model.safetensors.index.json", weights.Shards(map[string][]weights.Tensor{
			"model-00001-of-00002.safetensors": {weights.Bytes("a", 1, 1)}, "model-00002-of-00002.safetensors": {weights.Bytes("b", 1, 1)},
		}))
		p.write("outside/model.safetensors", shard)
		p.write("outside/model.safetensors.index.json", []byte(`{"weight_map":{"a":"../../../etc/passwd","b":"/etc/passwd"}}`))
		p.write("twice/model-00001-of-00002.safetensors", shard)
		p.write("twice/model-00002-of-00002.safetensors", shard)
		d := p.start()
		if ix := d.index("missing"); ix.Error == nil || !strings.Contains(*ix.Error, "model-00002-of-00002.safetensors") {
			t.Errorf("a missing shard: %v", ix.Error)
		}
		if ix := d.index("twice"); ix.Error == nil || !strings.Contains(*ix.Error, `"a"`) {
			t.Errorf("a tensor in two shards: %v", ix.Error)
		}
		for name, files := range map[string][]string{
			"missing": {"model-00001-of-00002.safetensors"}, "outside": {"model.safetensors"},
			"twice": {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"},
		} {
			for _, file := range files {
				if got, err := d.read(d.model(name, file)); err != nil || !bytes.Equal(got, shard) {
					t.Errorf("%s/%s: %v, or other bytes", name, file, err)
				}
			}
			for _, tensor := range d.index(name).Tensors {
				if tensor.File == nil || !slices.Contains(files, *tensor.File) {
					t.Errorf("%s: index.json names the file %v", name, tensor.File)
				}
			}
		}
	}, normal)
}
