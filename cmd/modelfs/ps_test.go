// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
)

func TestPs(t *testing.T) {
	golden(t, "ps", newFixture(t).succeed(t, "ps"))
}

func TestPsJSON(t *testing.T) {
	want, err := os.ReadFile("testdata/ps.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := newFixture(t).succeed(t, "ps", "--json"); got != string(want) {
		t.Errorf("ps --json is not ps.json as it is:\n%s", got)
	}
}

func TestPsOfNobody(t *testing.T) {
	f := newFixture(t)
	f.write(t, ".modelfs/ps.json", "[]")
	if got := f.succeed(t, "ps"); got != "nobody has a model open or mapped\n" {
		t.Errorf("got %q", got)
	}
}
