// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"reflect"
	"testing"
	"testing/synctest"
)

func TestLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight, 1 January 2000
		golden(t, "ls", newFixture(t).succeed(t, "ls"))
	})
}

// TestLsJSON: ls --json is the models of status.json, every field of them.
func TestLsJSON(t *testing.T) {
	f := newFixture(t)
	var got []map[string]any
	if err := json.Unmarshal([]byte(f.succeed(t, "ls", "--json")), &got); err != nil {
		t.Fatal(err)
	}
	var want struct{ Models []map[string]any }
	if err := json.Unmarshal([]byte(f.succeed(t, "status", "--json")), &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Models) != 4 || !reflect.DeepEqual(got, want.Models) {
		t.Errorf("got %v, want %v", got, want.Models)
	}
}

func TestLsOfNothing(t *testing.T) {
	f := newFixture(t)
	f.write(t, ".modelfs/status.json", `{"models": null}`)
	if got := f.succeed(t, "ls", "--json"); got != "[]\n" {
		t.Errorf("got %q", got)
	}
	if got := f.succeed(t, "ls"); got != "no models (modelfs status shows where they are looked for)\n" {
		t.Errorf("got %q", got)
	}
}

func TestTimeToLive(t *testing.T) {
	for seconds, want := range map[float64]string{0: "-", 0.5: "500ms", 90: "1m30s", 600: "10m", 3600: "1h", 5400: "1h30m"} {
		if got := timeToLive(seconds); got != want {
			t.Errorf("timeToLive(%g) = %q, want %q", seconds, got, want)
		}
	}
}
