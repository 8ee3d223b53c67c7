// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"path/filepath"

	"github.com/modelfs/modelfs/tests/internal/origin"
)

// slow makes the source of a place an origin that counts its reads and can hold
// them back. What it holds back passes before the daemons of the test end.
func (p *place) slow() *origin.FS {
	p.t.Helper()
	f, err := origin.Mount(filepath.Join(p.dir, "src"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			p.t.Error(err)
		}
	})
	p.unblock = append(p.unblock, f.Release)
	return f
}
