// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"sync"

	"github.com/modelfs/modelfs/internal/announce"
	"github.com/modelfs/modelfs/internal/scratch"
	"github.com/modelfs/modelfs/internal/tree"
)

// Workers makes workers.json with the servers that its visitor may see: see package
// announce.
func (d *Daemon) Workers(_ context.Context, visitor tree.Visitor) ([]byte, error) {
	out := announce.Workers{Workers: []announce.Worker{}} // [], never null
	held := d.areas.Sessions.Held(announce.File)
	d.malformed.keep(held)
	for _, h := range held {
		if !visitor.Knows(h.Folder.Uid, h.Folder.Gid, h.Folder.Mode) {
			continue
		}
		b, err := h.Read(announce.Most + 1)
		if err != nil {
			continue // it went in between
		}
		a, err := announce.Parse(b)
		if err != nil {
			if d.malformed.first(h.ID()) {
				d.cfg.Log.Warn("session announces no workers", "session", h.Session, "uid", h.Folder.Uid, "error", err)
			}
			continue
		}
		out.Workers = append(out.Workers, announce.Worker{Session: h.Session, UID: h.Folder.Uid, Announcement: *a})
	}
	return document(out)
}

// malformed remembers which announcements were complained of: anybody may read as often
// as he likes.
type malformed struct {
	mu    sync.Mutex
	files map[uint64]bool // whether, by the file
}

// keep forgets what is not there any more.
func (m *malformed) keep(held []scratch.Held) {
	m.mu.Lock()
	defer m.mu.Unlock()
	files := make(map[uint64]bool, len(held))
	for _, h := range held {
		files[h.ID()] = m.files[h.ID()]
	}
	m.files = files
}

// first says whether it is the first time.
func (m *malformed) first(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.files[id]
	m.files[id] = true
	return !before
}
