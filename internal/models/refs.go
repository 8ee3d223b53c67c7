// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package models

import (
	"github.com/modelfs/modelfs/registry"
)

// Use is one process that uses one model: an element of `ps --json`. Sizes are
// bytes.
type Use struct {
	PID     int    `json:"pid"`
	UID     int    `json:"uid"`
	Command string `json:"command"`
	Model   string `json:"model"`
	// MappedBytes is the address space that maps files of the model.
	MappedBytes int64 `json:"mapped_bytes"`
	// AloneBytes is what the process would hold without modelfs: every file of
	// the model that it has open or mapped, whole, once.
	AloneBytes int64 `json:"alone_bytes"`
}

// Uses lists which processes use which model.
func (m *Models) Uses(size func(ino uint64) int64) []Use {
	out := []Use{}
	for _, p := range m.users.Processes() {
		at := make(map[string]int)
		for _, u := range p.Uses {
			model, folder, ok := m.owner(u.Inode)
			if !ok || folder && !m.held(model) {
				continue
			}
			i, seen := at[model]
			if !seen {
				i = len(out)
				at[model] = i
				out = append(out, Use{PID: p.PID, UID: p.UID, Command: p.Command, Model: model})
			}
			out[i].MappedBytes += u.Mapped
			if !folder {
				out[i].AloneBytes += size(u.Inode)
			}
		}
	}
	return out
}

// refsByModel counts the processes that have something of each model open or
// mapped, each once.
func (m *Models) refsByModel() map[string]int {
	n := make(map[string]int)
	for _, p := range m.users.Processes() {
		seen := make(map[string]bool)
		for _, u := range p.Uses {
			model, folder, ok := m.owner(u.Inode)
			if !ok || seen[model] || folder && !m.held(model) {
				continue
			}
			seen[model] = true
			n[model]++
		}
	}
	return n
}

// refs is what /proc shows; where it does not show the users (another pid
// namespace), the open handles, or one when there is none and the lease says that
// somebody maps a segment.
func (m *Models) refs(model string, info registry.GroupInfo, seen int) int {
	if seen > 0 {
		return seen
	}
	if info.Refs > 0 {
		return info.Refs
	}
	for _, p := range m.Cache.Registry().Keys(model) {
		if m.Cache.Mapped(p) {
			return 1
		}
	}
	return 0
}

func (m *Models) owner(ino uint64) (string, bool, bool) {
	if m.inodes == nil {
		return "", false, false
	}
	return m.inodes(ino)
}

// Refresh makes the next answer look at /proc again.
func (m *Models) Refresh() { m.users.Forget() }
