// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
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
	if len(shell) != 2 {
		t.Fatalf("%d shell blocks, want the session and its end", len(shell))
	}
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

// blocks are the code blocks of a language.
func blocks(text, language string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}
