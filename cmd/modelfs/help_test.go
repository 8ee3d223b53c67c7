// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// TestHelp: help and help COMMAND say what --help says.
func TestHelp(t *testing.T) {
	f := newFixture(t)
	if got, want := f.succeed(t, "help"), f.succeed(t, "--help"); got != want || !strings.Contains(got, "   help        list the commands, ") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, c := range f.commands() {
		if c.SkipFlagParsing || c.Name == "help" {
			continue
		}
		if got, want := f.succeed(t, "help", c.Name), f.succeed(t, c.Name, "--help"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.Name, got, want)
		}
	}
	if got := f.fail(t, 2, "help", "moutn"); !strings.Contains(got, "did you mean mount?") {
		t.Error(got)
	}
	f.fail(t, 2, "help", "mount", "umount")
}
