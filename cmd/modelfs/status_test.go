// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
)

func TestStatus(t *testing.T) {
	golden(t, "status", newFixture(t).succeed(t, "status"))
}

func TestStatusJSON(t *testing.T) {
	want, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := newFixture(t).succeed(t, "status", "--json"); got != string(want) {
		t.Errorf("status --json is not status.json as it is:\n%s", got)
	}
}
