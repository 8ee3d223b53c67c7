// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"fmt"
	iofs "io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Own is the generation of a file that another file of the model names, as ONNX
// does with its data. Such a name is not to be trusted: it must be one regular
// file in the model's folder, with no symlink on the way there and no second hard
// link, else the answer is ErrForeign. In a Hugging Face cache the links of a
// snapshot to the repository's own blobs are taken.
func (m *Model) Own(rel string) (Generation, error) {
	p, err := m.path(rel)
	if err != nil {
		return Generation{}, err
	}
	dir, err := m.folder()
	if err != nil {
		return Generation{}, err
	}
	at, err := m.fence.find(dir)
	if err != nil {
		return Generation{}, err
	}
	defer func() { at.close() }()
	for part := range strings.SplitSeq(rel, "/") {
		if part == "" {
			break // rel is the model's folder
		}
		next, err := m.fence.step(at, part)
		if err == nil && next.kind() == unix.S_IFLNK {
			next, err = m.blob(next, path.Join(at.path, part) == p, rel)
		}
		if err != nil {
			return Generation{}, err
		}
		at.close()
		at = next
	}
	switch {
	case at.kind() != unix.S_IFREG:
		return Generation{}, fmt.Errorf("%s is no regular file: %w", rel, ErrForeign)
	case at.st.Nlink > 1:
		return Generation{}, fmt.Errorf("%s has %d hard links: %w", rel, at.st.Nlink, ErrForeign)
	}
	return m.fixed(Stat{Generation: generation(&at.st)}).Generation, nil
}

// blob is what a link of a snapshot leads to, in place of the link.
func (m *Model) blob(link node, last bool, rel string) (node, error) {
	defer link.close()
	target, err := link.link()
	if err != nil {
		return node{}, err
	}
	if !last || m.blobs == nil || !m.blobs(link.path, target) {
		return node{}, fmt.Errorf("%s is a symlink: %w", rel, ErrForeign)
	}
	return m.fence.find(path.Join(path.Dir(link.path), target))
}

// blob says whether a link of a snapshot leads to one of the repository's blobs, by
// the one path that the Hugging Face libraries give it.
func (r *revision) blob(link, target string) bool {
	if path.IsAbs(target) {
		return false
	}
	real := path.Join(path.Dir(link), target)
	name, ok := strings.CutPrefix(real, path.Join(r.repo, "blobs")+"/")
	if !ok || !iofs.ValidPath(name) || strings.Contains(name, "/") {
		return false
	}
	folder, err := r.fence.find(path.Dir(real))
	if err != nil {
		return false
	}
	defer folder.close()
	n, err := r.fence.step(folder, name)
	if err != nil {
		return false
	}
	defer n.close()
	return n.kind() == unix.S_IFREG
}
