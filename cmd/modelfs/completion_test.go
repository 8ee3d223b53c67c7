// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCandidates(t *testing.T) {
	f := newFixture(t)
	f.write(t, "models/openai/whisper-base/model.safetensors", "")
	all := "broken openai/whisper-base silero-vad evil\x1b[31m"
	for _, test := range []struct{ line, want string }{ // a line that ends in a blank has an empty last word
		{"um", "umount"},
		{"pi", "pin"},
		{"--m", "--mount"},
		{"--mount ", "MOUNT"},
		{"--mount /x ls --j", "--json"},
		{"load ", all},
		{"load s", "silero-vad"},
		{"load openai/whisper-base/m", "openai/whisper-base/model.safetensors"},
		{"load openai/whisper-base/o", "openai/whisper-base/onnx/"},
		{"load --mount=MOUNT sil", "silero-vad"},
		{"load --mount /nowhere sil", ""},
		{"evict --", "--idle --all --mount --help"},
		{"export sil", "silero-vad"},
		{"export --force --dtype f16 sil", "silero-vad"},
		{"export silero-vad sil", ""},
		{"export --dtype ", "f32 f16 bf16"},
		{"export --dtype=b", "--dtype=bf16"},
		{"mount --policy ", "lru lfu manual"},
		{"mount --policy=l", "--policy=lru --policy=lfu"},
		{"mount --hugepages o", "on off"},
		{"mount --ready", ""},
		{"mount ", ""},
		{"umount ", "MOUNT"},
		{"serve --model sil", "silero-vad"},
		{"serve --workers 2 --max-b", "--max-batch"},
		{"completion f", "fish"},
		{"nonsense x", ""},
	} {
		words := strings.Split(strings.ReplaceAll(test.line, "MOUNT", f.mount), " ")
		var got []string
		for line := range strings.Lines(f.succeed(t, append([]string{"__complete"}, words...)...)) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got = append(got, word)
		}
		if want := strings.Fields(test.want); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", test.line, got, want)
		}
	}
}

// TestBashCompletion runs the script in bash, the words broken as bash does.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	f := newFixture(t)
	bin := t.TempDir()
	if err := os.Symlink(mustExecutable(t), filepath.Join(bin, "modelfs")); err != nil {
		t.Fatal(err)
	}
	f.write(t, ".modelfs/status.json", `{"models": [{"name": "llama3:8b"}, {"name": "two words"}]}`)
	for line, want := range map[string]string{
		"modelfs eva":                      "",
		"modelfs ev":                       "evict",
		"modelfs load ll":                  "llama3:8b",
		"modelfs load llama3:8":            "8b",
		"modelfs load tw":                  `two\ words`,
		"modelfs mount --policy=m":         "manual",
		"modelfs mount --policy ":          "lfu lru manual",
		"modelfs completion ":              "bash fish zsh",
		"modelfs mount --hugepages=of -- ": "",
	} {
		script := `source <(modelfs completion bash); COMP_LINE=$1 COMP_POINT=${#1}; _modelfs; printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '`
		cmd := exec.Command(bash, "-c", script, "bash", line)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), asProgram+"=1", "MODELFS_MOUNT="+f.mount)
		got, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", line, err, got)
		}
		if strings.TrimSpace(string(got)) != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func mustExecutable(t *testing.T) string {
	t.Helper()
	path, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestScriptsParse checks the scripts with those shells that are there.
func TestScriptsParse(t *testing.T) {
	for _, shell := range strings.Split(shells, "|") {
		script := newFixture(t).succeed(t, "completion", shell)
		if !strings.Contains(script, "__complete") {
			t.Errorf("the script of %s does not ask modelfs", shell)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here to check its script with", shell)
			continue
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = strings.NewReader(script)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s -n: %v: %s", shell, err, text)
		}
	}
}
