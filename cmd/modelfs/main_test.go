// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// asProgram makes a child of a test run as modelfs itself.
const asProgram = "MODELFS_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it); got:\n%s\nwant:\n%s", path, got, want)
	}
}

// fixture is a program over a folder that looks like a mount.
type fixture struct {
	*program
	mount      string
	attributes *fakeAttributes
	out, err   bytes.Buffer
	env        map[string]string
}

// fakeAttributes are what the daemon would answer, by path below models/ and name.
type fakeAttributes struct {
	values map[string]string
	fails  map[string]error
	sets   []string
	wait   func() (string, error)
	root   string
}

func (f *fakeAttributes) key(path, name string) string {
	rel, err := filepath.Rel(f.root, path)
	if err != nil {
		panic(err)
	}
	return rel + " " + strings.TrimPrefix(name, "user.modelfs.")
}

func (f *fakeAttributes) get(path, name string) (string, error) {
	if name == waitAttribute && f.wait != nil {
		return f.wait()
	}
	key := f.key(path, name)
	if err := f.fails[key]; err != nil {
		return "", err
	}
	if v, ok := f.values[key]; ok {
		return v, nil
	}
	if _, err := os.Lstat(path); err != nil {
		return "", syscall.ENOENT
	}
	return "", syscall.ENODATA
}

func (f *fakeAttributes) set(path, name, value string) error {
	key := f.key(path, name)
	f.sets = append(f.sets, key+"="+value)
	return f.fails[key]
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{mount: t.TempDir(), env: map[string]string{}}
	for _, folder := range []string{".modelfs", "models/openai/whisper-base/onnx", "models/silero-vad", "tensors/openai/whisper-base"} {
		if err := os.MkdirAll(filepath.Join(f.mount, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"status.json", "ps.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		f.write(t, ".modelfs/"+name, string(text))
	}
	f.attributes = &fakeAttributes{
		root: filepath.Join(f.mount, "models"),
		values: map[string]string{
			"openai/whisper-base state": "resident", "openai/whisper-base resident": "304087040", "openai/whisper-base bytes": "304087040",
			"silero-vad state": "absent", "silero-vad resident": "0", "silero-vad bytes": "1239748",
		},
		fails: map[string]error{},
	}
	f.program = &program{
		stdout: &f.out, stderr: &f.err, euid: 1000,
		getenv:     func(name string) string { return f.env[name] },
		mountTable: filepath.Join(f.mount, "mountinfo"),
		attributes: f.attributes,
	}
	f.write(t, "mountinfo", "61 30 0:44 / "+f.mount+" rw,nosuid,nodev,relatime shared:30 - fuse.modelfs modelfs rw,user_id=1000,group_id=1000,default_permissions\n")
	return f
}

func (f *fixture) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(f.mount, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// invoke runs a command line and returns the exit code and what it wrote, the
// mount's path replaced by MOUNT.
func (f *fixture) invoke(args ...string) (code int, stdout, stderr string) {
	f.out.Reset()
	f.err.Reset()
	code = f.run(context.Background(), append([]string{"modelfs"}, args...))
	return code, strings.ReplaceAll(f.out.String(), f.mount, "MOUNT"), strings.ReplaceAll(f.err.String(), f.mount, "MOUNT")
}

// succeed runs a command line that must exit 0.
func (f *fixture) succeed(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := f.invoke(args...)
	if code != 0 {
		t.Fatalf("%q: exit %d: %s", args, code, stderr)
	}
	return stdout
}

// fail runs a command line that must exit with a code, and returns what it says.
func (f *fixture) fail(t *testing.T, code int, args ...string) string {
	t.Helper()
	got, stdout, stderr := f.invoke(args...)
	if got != code {
		t.Fatalf("%q: exit %d, want %d: %s%s", args, got, code, stdout, stderr)
	}
	return stderr
}
