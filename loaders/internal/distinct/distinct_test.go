// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package distinct

import (
	"slices"
	"testing"
)

func TestMake(t *testing.T) {
	var n Names
	if !n.Take("a~3") || !n.Take("b") || n.Take("b") {
		t.Error("a name was taken that is free, or the other way round")
	}
	var got []string
	for _, name := range []string{"a", "a", "a", "a", "b", "", "", "a~2", "a~2"} {
		got = append(got, n.Make(name))
	}
	if want := []string{"a", "a~2", "a~4", "a~5", "b~2", "", "~2", "a~2~2", "a~2~3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestMany: a name that is there often is counted on, not searched for.
func TestMany(t *testing.T) {
	var n Names
	for range 200_000 {
		n.Make("a")
	}
	if got := n.Make("a"); got != "a~200001" {
		t.Error(got)
	}
}
