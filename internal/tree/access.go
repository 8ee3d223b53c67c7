// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"slices"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/internal/users"
	"github.com/modelfs/modelfs/sources"
)

// access is what a caller may see: the checks that the kernel makes for files, for
// what lies as rows in one file or in an attribute.
type access struct {
	uid    uint32
	groups []uint32
}

func accessOf(c fs.Caller) access {
	a := access{uid: c.Uid}
	if c.Uid != 0 {
		a.groups = append(users.Groups(c.Pid), c.Gid)
	}
	return a
}

// bits are the caller's own three of a mode.
func (a access) bits(st sources.Stat) uint32 {
	switch {
	case a.uid == 0:
		return 7
	case a.uid == st.Uid:
		return st.Mode >> 6 & 7
	case slices.Contains(a.groups, st.Gid):
		return st.Mode >> 3 & 7
	}
	return st.Mode & 7
}

func (a access) reads(st sources.Stat) bool { return a.bits(st)&4 != 0 }

// Knows says whether the caller may know what a session holds: see Visitor.
func (a access) Knows(uid, gid, mode uint32) bool {
	return uid == 0 || uid == a.uid || a.bits(sources.Stat{Uid: uid, Gid: gid, Mode: mode})&1 != 0
}

// Lists says whether the caller may look into a model's folder.
func (a access) Lists(ctx context.Context, m *catalog.Model) bool {
	st, err := m.Folder(ctx)
	return err == nil && a.bits(st)&5 == 5
}

// Reads says whether the caller may read all of a model's weights: an error about
// them may quote what they contain.
func (a access) Reads(ctx context.Context, m *catalog.Model) bool {
	if a.uid == 0 {
		return true
	}
	cps, err := m.Checkpoints(ctx)
	if err != nil || !a.Lists(ctx, m) {
		return false
	}
	for _, cp := range cps.All {
		if a.readsFiles(ctx, cp) != nil {
			return false
		}
	}
	return true
}

// loads is nil for who may load a model: that takes room from others, so it is for
// those who may read what it loads.
func (a access) loads(ctx context.Context, m *catalog.Model) error {
	if a.uid == 0 {
		return nil
	}
	cps, err := m.Checkpoints(ctx)
	if err != nil {
		return fail(err)
	}
	if cps.Primary == nil {
		return nil // there is nothing to load, as the load will say
	}
	return a.readsFiles(ctx, cps.Primary)
}

// readsFiles is nil for who may read all files of a checkpoint.
func (a access) readsFiles(ctx context.Context, cp *catalog.Checkpoint) error {
	st, err := cp.Stat(ctx)
	if err == nil && !a.reads(st) {
		return fs.ErrAccess
	}
	return fail(err)
}

// narrowed are the mode bits of a folder that shows what files contain: who may not
// read those may not look into it. The owner or group of the one may be among the
// others of the other.
func narrowed(folder, files sources.Stat) uint32 {
	owner, group, others := files.Mode>>8&1, files.Mode>>5&1, files.Mode>>2&1
	if folder.Gid != files.Gid {
		others &= group
		group = others
	}
	if folder.Uid != files.Uid {
		group, others = group&owner, others&owner
		owner = others
	}
	return folder.Mode & (owner*0o700 | group*0o070 | others*0o007 | 0o7000)
}
