// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestUnits has systemd read the units, with this program in place of the
// installed one.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze to check the unit with")
	}
	for file, instance := range map[string]string{"modelfs@.service": "mnt-models", "modelfs-serve@.service": "silero-vad"} {
		text, err := os.ReadFile("../../packaging/" + file)
		if err != nil {
			t.Fatal(err)
		}
		unit := strings.ReplaceAll(string(text), "/usr/local/bin/modelfs", mustExecutable(t))
		unit = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(unit, "") // not installed
		path := filepath.Join(t.TempDir(), strings.Replace(file, "@", "@"+instance, 1))
		if err := os.WriteFile(path, []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(analyze, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify %s: %v\n%s", file, err, out)
		}
	}
}

// TestFstabExamples: the lines that the documents show are understood.
func TestFstabExamples(t *testing.T) {
	text, err := os.ReadFile("../../packaging/README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^    (\S+)\s+(/\S+)\s+modelfs\s+(\S+)\s+0 0$`).FindAllStringSubmatch(string(text), -1)
	if len(lines) == 0 {
		t.Fatal("no line of fstab in packaging/README.md")
	}
	for _, l := range lines {
		args, err := mountHelperArguments([]string{"mount.modelfs", l[1], l[2], "-o", "rw," + l[3]})
		if err != nil {
			t.Errorf("%s: %v", l[0], err)
			continue
		}
		if _, err := configOf(t, newFixture(t), args[2:]...); err != nil {
			t.Errorf("%s: %v", l[0], err)
		}
	}
	for _, option := range regexp.MustCompile("`([a-z_]+)=([^`]+)`").FindAllStringSubmatch(string(text), -1) {
		if _, err := mountHelperArguments([]string{"mount.modelfs", "none", "/m", "-o", option[1] + "=" + option[2]}); err != nil {
			t.Errorf("option %s: %v", option[0], err)
		}
	}
}
