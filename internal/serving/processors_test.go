// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import "testing"

func TestProcessors(t *testing.T) {
	for _, c := range []struct{ machine, handlers, want int }{
		{1, 1, 1}, {2, 1, 1}, {2, 8, 1}, {4, 1, 3}, {4, 4, 2}, {16, 2, 14}, {16, 64, 8},
	} {
		if got := processors(c.machine, c.handlers); got != c.want {
			t.Errorf("%d processors and %d handlers: %d, want %d", c.machine, c.handlers, got, c.want)
		}
	}
}
