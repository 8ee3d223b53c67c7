// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import "maps"

// Limits of what a writer may say of a file.
const (
	maxNotes = 8
	maxNote  = 4 << 10
)

// Note keeps what a writer says of a file: its dtype, its shape.
func (n *Node) Note(name, value string) error {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	c := n.content
	if c == nil || c.phase != written {
		return ErrPlace
	}
	_, known := c.notes[name]
	if len(value) > maxNote || len(c.notes) >= maxNotes && !known {
		return ErrNoSpace
	}
	notes := maps.Clone(c.notes)
	if notes == nil {
		notes = make(map[string]string)
	}
	notes[name] = value
	c.notes = notes
	return nil
}

// Notes returns what the writer said. The map is not to be changed.
func (n *Node) Notes() map[string]string {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	if n.content == nil {
		return nil
	}
	return n.content.notes
}
