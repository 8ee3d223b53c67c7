// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestManual: the page names every command and every flag, and groff has nothing
// to say against it.
func TestManual(t *testing.T) {
	f := newFixture(t)
	page := f.succeed(t, "man")
	for _, c := range f.commands() {
		if strings.Contains(page, "\n.SS "+c.Name) == c.Hidden {
			t.Errorf("the page and the command %s (hidden %v) disagree", c.Name, c.Hidden)
		}
		for _, flag := range c.VisibleFlags() {
			if !strings.Contains(page, roff(dashed(flag.Names()[0]))) {
				t.Errorf("%s: --%s is not in the page", c.Name, flag.Names()[0])
			}
		}
	}
	if strings.Contains(page, "ready\\-fd") {
		t.Error("a hidden flag is in the page")
	}
	for _, name := range []string{"status.json", "ps.json", "workers.json", "metrics", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "MODELFS_MODELS", "MODELFS_MOUNT"} {
		if !strings.Contains(page, name) {
			t.Errorf("%s is not in the page", name)
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff to check the page with")
	}
	cmd := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z")
	cmd.Stdin = strings.NewReader(page)
	if text, err := cmd.CombinedOutput(); err != nil || len(text) > 0 {
		t.Errorf("groff: %v: %s", err, text)
	}
}

func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		".dot":       `\&.dot`,
		"'quote":     `\(aqquote`,
		`back\slash`: `back\eslash`,
		"--flag":     `\-\-flag`,
	} {
		if got := roff(text); got != want {
			t.Errorf("roff(%q) = %q, want %q", text, got, want)
		}
	}
}
