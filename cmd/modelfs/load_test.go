// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestLoad: a load that takes a while says how far it is, by plain lines where
// there is no terminal.
func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		began := time.Now()
		f.attributes.wait = func() (string, error) {
			time.Sleep(2500 * time.Millisecond)
			return "resident", nil
		}
		f.program.attributes = growing{f.attributes, began}
		code, stdout, stderr := f.invoke("load", "silero-vad")
		if code != 0 {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		golden(t, "load", stderr+stdout)
	})
}

// growing has 400,000 bytes of silero-vad arrive each second.
type growing struct {
	*fakeAttributes
	began time.Time
}

func (g growing) get(path, name string) (string, error) {
	if name == loadingAttribute {
		return strconv.FormatInt(int64(time.Since(g.began).Seconds()*400_000), 10), nil
	}
	return g.fakeAttributes.get(path, name)
}

func TestLoadOfWhatIsThere(t *testing.T) {
	f := newFixture(t)
	f.attributes.wait = func() (string, error) { return "resident", nil }
	if got := f.succeed(t, "load", "openai/whisper-base"); got != "openai/whisper-base is in memory already (290 MiB)\n" {
		t.Error(got)
	}
}

// TestWithoutPrimary: of a mount's model that has several checkpoints, or none, load and
// inspect say the same as inspect says of its folder on disk.
func TestWithoutPrimary(t *testing.T) {
	const none = `{"model": "silero-vad", "generation": "", "tensors": [], "error": null}`
	f := newFixture(t)
	f.attributes.wait = func() (string, error) { return "", syscall.EIO }
	f.attributes.values["silero-vad bytes"] = "0"
	f.write(t, "models/silero-vad/config.json", "{}")
	f.write(t, "tensors/silero-vad/index.json", none)
	disk := filepath.Join(f.mount, "models/silero-vad")
	check := func(want string) {
		t.Helper()
		for _, args := range [][]string{{"load", "silero-vad"}, {"inspect", "silero-vad"}, {"inspect", disk}} {
			if got := f.fail(t, 1, args...); got != "modelfs: silero-vad has "+want+"\n" {
				t.Errorf("%q: %s", args, got)
			}
		}
	}
	check("no weight files")
	for _, name := range []string{"q4.gguf", "sub/dir/q8.gguf", "sub/q2.gguf"} {
		f.write(t, "tensors/silero-vad/"+name+"/index.json", "{}")
		f.write(t, "models/silero-vad/"+name, "")
	}
	f.write(t, "tensors/silero-vad/q4.gguf/folder/tensor", "")
	check("3 checkpoints and none that comes first, name one: q4.gguf, sub/dir/q8.gguf, sub/q2.gguf")

	f.write(t, "tensors/silero-vad/index.json", `{"generation": "1234", "tensors": [], "error": null}`)
	if got := f.fail(t, 1, "load", "silero-vad"); !strings.Contains(got, "input/output error") {
		t.Errorf("an empty checkpoint: %s", got)
	}
}

func TestLoadFailures(t *testing.T) {
	for _, test := range []struct {
		name, state, reason string
		err                 error
		want                string
	}{
		{"malformed", "", "header of 99 bytes in a file of 12", syscall.EIO, "load silero-vad: header of 99 bytes in a file of 12"},
		{"no room, told", "", "needs 290 MB, 120 MB are free", syscall.ENOMEM, "load silero-vad: no room: needs 290 MB, 120 MB are free"},
		{"no room", "", "", syscall.ENOMEM, "load silero-vad: no room: it does not fit beside what is in use (modelfs ps, modelfs status)"},
		{"forbidden", "", "", syscall.EACCES, "load silero-vad: permission denied: its files on disk are not readable for you either"},
		{"daemon died", "", "", syscall.ENOTCONN, "the daemon of MOUNT died: modelfs umount MOUNT, then mount it again"},
		{"unknown", "", "", syscall.EIO, "load silero-vad: input/output error"},
		{"not resident", "absent", "", nil, "silero-vad was not loaded, its state is absent"},
		{"failed", "failed", "file changed", nil, "silero-vad was not loaded, its state is failed: file changed"},
	} {
		f := newFixture(t)
		f.attributes.wait = func() (string, error) { return test.state, test.err }
		if test.reason != "" {
			f.attributes.values["silero-vad error"] = test.reason
		}
		if got := f.fail(t, 1, "load", "silero-vad"); got != "modelfs: "+test.want+"\n" {
			t.Errorf("%s: %swant %s", test.name, got, test.want)
		}
	}
}

func TestLoadFile(t *testing.T) {
	f := newFixture(t)
	f.write(t, "models/openai/whisper-base/model.safetensors", strings.Repeat("x", 8192))
	if got := f.succeed(t, "load", "openai/whisper-base/model.safetensors"); !strings.HasPrefix(got, "loaded openai/whisper-base/model.safetensors: 8.00 KiB in ") {
		t.Error(got)
	}
	if got := f.fail(t, 1, "load", "openai/whisper-base/model.bin"); !strings.Contains(got, "has no file model.bin") {
		t.Error(got)
	}
	if got := f.fail(t, 1, "load", "openai/whisper-base/onnx"); !strings.Contains(got, "it is a folder") {
		t.Error(got)
	}
	// A hole is a file without blocks, as a side file is in the mount.
	f.write(t, "models/openai/whisper-base/config.json", "")
	if err := syscall.Truncate(filepath.Join(f.mount, "models/openai/whisper-base/config.json"), 1<<20); err != nil {
		t.Fatal(err)
	}
	if got := f.fail(t, 1, "load", "openai/whisper-base/config.json"); !strings.Contains(got, "was not loaded: it opens, but is not held in memory") {
		t.Error(got)
	}
}

// TestCheckpoint: the shards that an index lists are opened too, the named one
// first, and nothing outside the model.
func TestCheckpoint(t *testing.T) {
	f := newFixture(t)
	tensor := func(files ...string) string {
		var list []string
		for _, file := range files {
			list = append(list, `{"file": `+file+`}`)
		}
		return `{"tensors": [` + strings.Join(list, ",") + `]}`
	}
	f.write(t, "tensors/openai/whisper-base/index.json", tensor(`"m-3.safetensors"`, `"m-1.safetensors"`, `"m-2.safetensors"`, `"m-1.safetensors"`, `null`, `"../../etc/passwd"`))
	f.write(t, "tensors/openai/whisper-base/q4.gguf/index.json", tensor(`"q4.gguf"`))
	for _, test := range []struct {
		file string
		want []string
	}{
		{"m-2.safetensors", []string{"m-2.safetensors", "m-1.safetensors", "m-3.safetensors"}},
		{"q4.gguf", []string{"q4.gguf"}},
		{"other.bin", []string{"other.bin"}},
	} {
		got := f.checkpoint(target{f.mount, "openai/whisper-base", test.file})
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.file, got, test.want)
		}
	}
}
