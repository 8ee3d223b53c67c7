// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"fmt"
	iofs "io/fs"
	"os"
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
	at := dir
	var st unix.Stat_t
	for part := range strings.SplitSeq(rel, "/") {
		at = path.Join(at, part)
		if err := unix.Lstat(at, &st); err != nil {
			return Generation{}, &os.PathError{Op: "stat", Path: rel, Err: err}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			if at != p || m.blobs == nil || !m.blobs(at) {
				return Generation{}, fmt.Errorf("%s is a symlink: %w", rel, ErrForeign)
			}
			if err := unix.Stat(at, &st); err != nil {
				return Generation{}, &os.PathError{Op: "stat", Path: rel, Err: err}
			}
		}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return Generation{}, fmt.Errorf("%s is no regular file: %w", rel, ErrForeign)
	case st.Nlink > 1:
		return Generation{}, fmt.Errorf("%s has %d hard links: %w", rel, st.Nlink, ErrForeign)
	}
	return m.fixed(Stat{Generation: generation(&st)}).Generation, nil
}

// blob says whether a link of a snapshot leads to one of the repository's blobs, by
// the one path that the Hugging Face libraries give it.
func (r *revision) blob(link string) bool {
	target, err := os.Readlink(link)
	if err != nil || path.IsAbs(target) {
		return false
	}
	real := path.Join(path.Dir(link), target)
	name, ok := strings.CutPrefix(real, path.Join(r.repo, "blobs")+"/")
	if !ok || !iofs.ValidPath(name) || strings.Contains(name, "/") {
		return false
	}
	var st unix.Stat_t
	return unix.Lstat(real, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}
