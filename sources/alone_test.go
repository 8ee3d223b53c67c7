// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import "testing"

func TestSnapshot(t *testing.T) {
	for dir, want := range map[string]string{
		"/hub/models--org--m/snapshots/abc":           "/hub/models--org--m",
		"/hub/models--org--m/snapshots/abc/onnx/deep": "/hub/models--org--m",
		"/hub/datasets--d/snapshots/abc":              "/hub/datasets--d",
		"/hub/models--org--m/snapshots":               "",
		"/hub/models--org--m":                         "",
		"/hub/m/snapshots/abc":                        "",
		"/hub/models--/snapshots/abc":                 "",
		"/snapshots/abc":                              "",
		"/":                                           "",
	} {
		if repo, ok := Snapshot(dir); repo != want || ok != (want != "") {
			t.Errorf("%s: %q, %v, want %q", dir, repo, ok, want)
		}
	}
}

func TestUnnamed(t *testing.T) {
	for dir, want := range map[string]bool{
		"/hub/models--org--m/blobs": true, "/hub/models--org--m/refs": true, "/hub/spaces--s/.no_exist": true, "/hub/.locks/models--org--m": true,
		"/hub/models--org--m/snapshots": false, "/hub/models--org--m": false, "/hub/m/blobs": false, "/hub/models--org--m/snapshots/abc/blobs": false,
		"/hub/.locks": false, "/hub/.locks/m": false, "/blobs": false, "/": false,
	} {
		if got := Unnamed(dir); got != want {
			t.Errorf("%s: %v", dir, got)
		}
	}
}
