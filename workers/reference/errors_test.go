// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSaidOnce: what the kernel says is not added to an error that says it already.
func TestSaidOnce(t *testing.T) {
	for errno := unix.Errno(1); errno < 134; errno++ {
		parts := strings.Split(failed(Place{}, errno).Error(), ": ")
		for i := range parts[1:] {
			if strings.HasPrefix(parts[i+1], parts[i]) {
				t.Errorf("%s", strings.Join(parts, ": "))
			}
		}
	}
}
