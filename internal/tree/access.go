// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"slices"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/users"
	"github.com/modelfs/modelfs/sources"
)

// visible returns which folders a caller may read and search: the check that the
// kernel makes for files, for what lies as rows in one file.
func visible(c fs.Caller) func(sources.Stat) bool {
	if c.Uid == 0 {
		return func(sources.Stat) bool { return true }
	}
	groups := append(users.Groups(c.Pid), c.Gid)
	return func(st sources.Stat) bool {
		bits := st.Mode
		switch {
		case c.Uid == st.Uid:
			bits >>= 6
		case slices.Contains(groups, st.Gid):
			bits >>= 3
		}
		return bits&5 == 5
	}
}
