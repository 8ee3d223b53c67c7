// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import "testing"

func TestUIDMap(t *testing.T) {
	for uids, want := range map[string]bool{
		"         0          0 4294967295\n": true, "0 100000 65536\n": false, "0 0 1\n1 1 4294967294\n": false, "": false, "1000 0 1\n": false,
	} {
		if got := allMapped(uids); got != want {
			t.Errorf("%q: %v", uids, got)
		}
	}
}
