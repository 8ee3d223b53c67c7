// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"cmp"
	"maps"
	"math"
	"strings"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is one inode that the kernel knows.
type node struct {
	id         uint64
	parent     uint64
	name       string // as the journal has it
	generation uint64
	folder     bool

	// Guarded by table.mu.
	entry   Entry
	moved   string // the name that it has by now, if it was renamed
	lookups uint64 // that the kernel has not taken back
	last    Attr   // what the kernel was told

	opening // see open.go
}

// table is the nodes by id, and the newest node of each name.
type table struct {
	journaled func(error) // told when an id could not be kept

	mu     sync.RWMutex
	ids    *journal
	byID   map[uint64]*node
	byName map[nameKey]*node
	most   int // nodes since the maps were made
}

type nameKey struct {
	parent uint64
	name   string
}

func newTable(ids *journal, root Folder, journaled func(error)) *table {
	t := &table{journaled: journaled, ids: ids, byID: make(map[uint64]*node), byName: make(map[nameKey]*node)}
	t.byID[fuse.FUSE_ROOT_ID] = &node{id: fuse.FUSE_ROOT_ID, folder: true, entry: root, lookups: math.MaxUint64 / 2}
	return t
}

// get returns a node that the kernel knows, and its entry.
func (t *table) get(id uint64) (*node, Entry, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.byID[id]
	if n == nil {
		return nil, nil, false
	}
	return n, n.entry, true
}

// look counts a lookup of a name and returns its node. Another generation, or a
// folder where a file was, is another node.
func (t *table) look(parent uint64, name string, e Entry) *node {
	_, folder := e.(Folder)
	gen := e.Generation()
	key := nameKey{parent, name}
	var err error
	defer func() {
		if err != nil {
			t.journaled(err)
		}
	}()
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byName[key]
	if n == nil || n.generation != gen || n.folder != folder {
		n = &node{parent: parent, name: name, generation: gen, folder: folder}
		n.id, err = t.ids.add(parent, gen, folder, name)
		t.byID[n.id] = n
		t.byName[key] = n
		t.most = max(t.most, len(t.byID))
	}
	n.entry = e
	n.lookups++
	return n
}

// show notes what the kernel is told of a node, shown returns it.
func (t *table) show(n *node, a Attr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.last = a
}

func (t *table) shown(n *node) Attr {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return n.last
}

// rename moves a node to its new name. Nodes below keep their parent's id, and so
// their place. The journal has the old name until the kernel asks anew.
func (t *table) rename(parent uint64, name string, newParent uint64, newName string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := nameKey{parent, name}
	n := t.byName[from]
	if n == nil {
		return
	}
	delete(t.byName, from)
	to := nameKey{newParent, newName}
	t.byName[to] = n
	n.parent, n.moved = newParent, newName
}

// forget takes lookups back; a node without any is gone.
func (t *table) forget(id, lookups uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil {
		return
	}
	if n.lookups -= min(lookups, n.lookups); n.lookups > 0 {
		return
	}
	delete(t.byID, id)
	t.ids.remove(id, n.name)
	defer t.shrinkLocked()
	if key := (nameKey{n.parent, cmp.Or(n.moved, n.name)}); t.byName[key] == n {
		delete(t.byName, key)
	}
}

// shrinkLocked makes the maps anew when few of many nodes are left: a map keeps
// the memory of the most that it ever held.
func (t *table) shrinkLocked() {
	const worth = 10_000
	if t.most < worth || len(t.byID) > t.most/8 {
		return
	}
	byID := make(map[uint64]*node, len(t.byID))
	maps.Copy(byID, t.byID)
	byName := make(map[nameKey]*node, len(t.byName))
	maps.Copy(byName, t.byName)
	t.byID, t.byName, t.most = byID, byName, len(byID)
}

// files are the ids of the nodes that are no folders.
func (t *table) files() []uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var ids []uint64
	for id, n := range t.byID {
		if !n.folder {
			ids = append(ids, id)
		}
	}
	return ids
}

// find returns the id of the newest node at a path below the root, if the kernel
// knows it.
func (t *table) find(path string) (uint64, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	id := uint64(fuse.FUSE_ROOT_ID)
	for part := range strings.SplitSeq(path, "/") {
		n := t.byName[nameKey{id, part}]
		if n == nil {
			return 0, false
		}
		id = n.id
	}
	return id, true
}

// size is how many nodes the kernel knows, the root among them.
func (t *table) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}
