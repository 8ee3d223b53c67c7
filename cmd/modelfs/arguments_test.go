// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestFlagsMayFollowArguments(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"modelfs", "modelfs"},
		{"modelfs ls", "modelfs ls --"},
		{"modelfs inspect FILE --json", "modelfs inspect --json -- FILE"},
		{"modelfs inspect --json FILE", "modelfs inspect --json -- FILE"},
		{"modelfs --mount ls ls --json", "modelfs --mount ls ls --json --"},
		{"modelfs --mount=/m load a --mount /n", "modelfs --mount=/m load --mount /n -- a"},
		{"modelfs mount /m --memory 1GiB --daemon --models=a --models b", "modelfs mount --memory 1GiB --daemon --models=a --models b -- /m"},
		{"modelfs load -- --json", "modelfs load -- --json"},
		{"modelfs load - --mount m", "modelfs load --mount m -- -"},
		{"modelfs unknown a --b", "modelfs unknown a --b"},
		{"modelfs __complete load --mount", "modelfs __complete load --mount"},
	} {
		got, err := interspersed(newFixture(t).app(), strings.Fields(test.line))
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
		}
		if want := strings.Fields(test.want); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", test.line, got, want)
		}
	}
}
