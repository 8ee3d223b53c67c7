// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"testing"
)

func TestVersion(t *testing.T) {
	f := newFixture(t)
	if got := f.succeed(t, "version"); !regexp.MustCompile(`^modelfs \S+ linux/\w+\n$`).MatchString(got) {
		t.Errorf("got %q", got)
	}
	if got := f.succeed(t, "--version"); got != "modelfs version "+version()+"\n" {
		t.Errorf("got %q", got)
	}
}
