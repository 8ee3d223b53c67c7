// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeSession runs the README's shell and C blocks as somebody who copies
// them would, but for the paths in /tmp and the build: what each command promises
// shows in what it prints.
func TestReadmeSession(t *testing.T) {
	p := newPlace(t, normal)
	mount := p.folder("mnt")
	text := string(must(os.ReadFile("../README.md"))(t))
	text = strings.NewReplacer("/tmp/models", p.folder("models"), "/tmp/mnt", mount, "make build\n", "").Replace(text)
	shell := blocks(text, "sh")
	if len(shell) != 3 {
		t.Fatalf("%d shell blocks, want the session, its end, and that of inference", len(shell))
	}
	shell = shell[:2]
	source := filepath.Join(p.dir, "sum.c")
	if err := os.WriteFile(source, []byte(blocks(text, "c")[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(p.dir, "sum")
	if cc, err := exec.LookPath("cc"); err != nil {
		shell = append(shell[:1], "echo 10.9573", shell[1]) // no compiler: the rest of the session
	} else if out, err := exec.Command(cc, "-Wall", "-Werror", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	} else {
		shell = append(shell[:1], program, shell[1])
	}
	cmd := exec.Command("bash", "-eux", "-c", strings.Join(shell, "\n"))
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(programs.modelfs)+":"+os.Getenv("PATH"), "MODELFS_MOUNT="+mount)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`(?m)^silero-vad +absent +0 `,
		`(?m)^ *0 -rw.* silero_vad_16k.safetensors$`,
		`(?m)^1212 -rw.* silero_vad_16k.safetensors$`,
		`(?m)^1\.2M\t.*/models$`,
		`(?m)^conv1\.bias\.npy$`,
		`(?m)silero-vad .* bash -eux`,
		`silero-vad is in use by 1 process`,
		`(?m)^-?\d+\.\d+$`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("nothing is like %s", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
	if n := mountsAt(t, mount); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
}

// TestReadmeServes runs the README's session of inference, after what it needs of the first:
// the model's folder.
func TestReadmeServes(t *testing.T) {
	p := newPlace(t, normal)
	for _, module := range []string{"onnxruntime", "grpc", "silero_vad"} {
		program := fmt.Sprintf("import sys, importlib.util as u; sys.exit(u.find_spec(%q) is None)", module)
		if out, err := exec.Command("../.venv/bin/python", "-c", program).CombinedOutput(); err != nil {
			lacking(t, "python", fmt.Sprintf("%s in .venv (make setup): %v %s", module, err, out))
		}
	}
	mount, models := p.folder("mnt"), p.folder("models")
	p.folder("models/silero-vad")
	text := string(must(os.ReadFile("../README.md"))(t))
	text = strings.NewReplacer("/tmp/models", models, "/tmp/mnt", mount, "make setup ", ": ").Replace(text)
	cmd := exec.Command("bash", "-eux", "-c", blocks(text, "sh")[2])
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(programs.modelfs)+":"+os.Getenv("PATH"), "MODELFS_MOUNT="+mount, "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^speech: 0\.\d+$`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
	if n := mountsAt(t, mount); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
}

// blocks are the code blocks of a language.
func blocks(text, language string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}
