// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Held is a file in a session that a process has open for writing. The kernel closes
// it with the process: it lasts as long as that.
type Held struct {
	Session string
	Folder  unix.Stat_t // the session's
	node    *Node
}

// ID tells files of one name apart.
func (h Held) ID() uint64 { return h.node.ID() }

// Held returns the files of a name at the top of sessions that are being written, by
// session: those that belong to the session's owner, and that nobody else may write. In
// a folder that others may write to, too, a file says nothing of its owner.
func (a *Area) Held(name string) []Held {
	var out []Held
	for _, folder := range a.root.List() {
		n, ok := folder.Lookup(name)
		if !ok || !n.beingWritten() {
			continue
		}
		dir, err := folder.Stat()
		file, err2 := n.Stat()
		if err != nil || err2 != nil || dir.Uid != file.Uid || file.Mode&0o022 != 0 {
			continue
		}
		out = append(out, Held{Session: folder.Name(), Folder: dir, node: n})
	}
	return out
}

func (n *Node) beingWritten() bool {
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	return n.content != nil && n.content.writers > 0
}

// Read returns what the file has by now, at most so many bytes.
func (h Held) Read(most int64) ([]byte, error) {
	st, err := h.node.Stat()
	if err != nil {
		return nil, err
	}
	c, err := h.node.Open(context.Background(), true)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	b := make([]byte, min(st.Size, most))
	n, err := c.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read a file of session %s: %w", h.Session, err)
	}
	return b[:n], nil
}
