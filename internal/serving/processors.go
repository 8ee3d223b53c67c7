// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"os"
	"runtime"
)

// processors is how many of the machine's processors the server uses at a time. It
// leaves one to each handler, down to a half of them: what it does itself is little, and Go
// wakes what is idle to look for work, which on a processor that a handler or a caller
// needs takes longer than a call. On two, by reference and one by one, calls take half as
// long with one as with both.
func processors(machine, handlers int) int {
	return max(machine-handlers, machine/2, 1)
}

// limitProcessors does that, unless the environment says how many.
func limitProcessors(handlers int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors(runtime.GOMAXPROCS(0), handlers))
	}
}
