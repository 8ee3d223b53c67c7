// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// TestServeFlags: what is wrong with a flag is said before anything is started.
func TestServeFlags(t *testing.T) {
	for flags, says := range map[string]string{
		"":                              "--model is missing",
		"--model x=":                    "write NAME",
		"--model x=y":                   "is no handler",
		"--model x --model x=y:Z":       "given twice",
		"--model x --socket-mode 8":     "an octal number like 0660",
		"--model x --socket-mode 0":     "an octal number like 0660",
		"--model x --socket-mode 1666":  "an octal number like 0660",
		"--model x --socket-mode rw":    "an octal number like 0660",
		"--model x --workers 0":         "a number from 1 on",
		"--model x --preferred-batch 2": "numbers from 1 to --max-batch",
	} {
		f := newFixture(t)
		if got := f.fail(t, 2, append([]string{"serve"}, strings.Fields(flags)...)...); !strings.Contains(got, says) {
			t.Errorf("serve %s: %q, want %q", flags, got, says)
		}
	}
}

// TestUsualSocket: where others than the server's user can get, if the socket's mode lets
// them; root's daemon keeps its segments elsewhere.
func TestUsualSocket(t *testing.T) {
	f := newFixture(t)
	f.euid = 0
	if got := f.usualSocket("org/model"); got != "/run/modelfs-serve/org-model.sock" {
		t.Errorf("root's: %s", got)
	}
	f.euid = 1000
	f.env["XDG_RUNTIME_DIR"] = "/run/user/1000"
	if got := f.usualSocket("model"); got != "/run/user/1000/modelfs/model.sock" {
		t.Errorf("a user's: %s", got)
	}
}
