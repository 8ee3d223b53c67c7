// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"sync"
	"time"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/internal/models"
)

// modelFolder is models/<model>: the model's own files, and the model's lease.
type modelFolder struct {
	t     *Tree
	model *catalog.Model
}

var (
	_ fs.Folder     = (*modelFolder)(nil)
	_ fs.Attributed = (*modelFolder)(nil)
	_ Owned         = (*modelFolder)(nil)
)

func (m *modelFolder) ModelName() string { return m.model.Name() }

func (m *modelFolder) Attr(ctx context.Context) (fs.Attr, error) {
	st, err := m.model.Folder(ctx)
	if err != nil {
		return fs.Attr{}, fail(err)
	}
	return folderAttr(shown(st)), nil
}

func (m *modelFolder) Generation() uint64 { return 0 }

func (m *modelFolder) Lookup(ctx context.Context, name string) (fs.Entry, error) {
	return m.t.file(ctx, m.model, name)
}

func (m *modelFolder) OpenDir(_ context.Context, c fs.Caller, nonblock bool) (fs.DirHandle, error) {
	h := &folderHandle{list: m.t.lister(m.model, "")}
	if !nonblock {
		h.lease(m, accessOf(c))
	}
	return h, nil
}

// unlisted is how long an open of a model's folder may stay unread before it is
// taken for a lease: a listing reads at once, also under load (16 ms seen).
const unlisted = 50 * time.Millisecond

// folderHandle is one open model folder. Opened to be listed it is a listing;
// left alone, it becomes a lease on the model until it is closed or listed.
type folderHandle struct {
	list lister

	mu    sync.Mutex
	timer *time.Timer
	hold  *models.Hold
	over  bool // listed or closed: no lease any more
}

// lease makes the handle a lease on a model, unless who has it may not load that: he may
// list the folder.
func (h *folderHandle) lease(m *modelFolder, who access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(unlisted, func() {
		if who.loads(context.Background(), m.model) != nil {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.over {
			h.hold = m.t.models.Lease(m.model) // returns at once: the load is in the background
		}
	})
}

func (h *folderHandle) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.hold != nil {
		h.hold.Release()
		h.hold = nil
	}
}

func (h *folderHandle) List(ctx context.Context) ([]fs.DirEntry, error) {
	h.end()
	return h.list(ctx)
}

func (h *folderHandle) Close() { h.end() }

// folderAttr drops a size that means nothing here.
func folderAttr(a fs.Attr) fs.Attr {
	a.Size = 0
	return a
}
