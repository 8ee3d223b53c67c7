// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Model is one model of a source: a folder of files on disk.
type Model struct {
	name   string
	folder func() (string, error) // its absolute path, now
	// only holds the names that belong to it when the folder is shared with other
	// models; nil: everything.
	only []string
	// blobs says whether a symlink is one of the source's own making; nil: none is.
	blobs func(link, target string) bool
	// base is the folder that everybody can get to, below which permissions count;
	// "": "/".
	base  string
	top   string // see Top
	fence *Fence
}

// Name is the model's path below its source; it may hold "/".
func (m *Model) Name() string { return m.name }

// Whole is the model with everything in its folder: where that is shared with other
// models, data that a weight file names may be in a file that none of them shows.
func (m *Model) Whole() *Model {
	if m.only == nil {
		return m
	}
	return &Model{name: m.name, folder: m.folder, blobs: m.blobs, base: m.base, top: m.top, fence: m.fence}
}

// Published says whether the model was copied into the mount: it has no origin.
func (m *Model) Published() bool { return m.base != "" }

// path is where rel lies. rel is "" for the model's folder, and a slash-separated
// path without "." and ".." otherwise.
func (m *Model) path(rel string) (string, error) {
	dir, err := m.folder()
	if err != nil {
		return "", err
	}
	if rel == "" {
		return dir, nil
	}
	if !local(rel) {
		return "", fmt.Errorf("%q in %s: %w", rel, m.name, iofs.ErrNotExist)
	}
	if first, _, _ := strings.Cut(rel, "/"); m.only != nil && !slices.Contains(m.only, first) {
		return "", fmt.Errorf("%s in %s: %w", rel, m.name, iofs.ErrNotExist)
	}
	return path.Join(dir, rel), nil
}

// local says whether a path stays below where it begins. Its names are bytes, as on
// disk: io/fs.ValidPath wants UTF-8.
func local(rel string) bool {
	for name := range strings.SplitSeq(rel, "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) {
			return false
		}
	}
	return true
}

// Stat returns the attributes of a file or folder of the model; of the model's
// folder for "".
func (m *Model) Stat(rel string) (Stat, error) {
	p, err := m.path(rel)
	if err != nil {
		return Stat{}, err
	}
	n, r, err := m.fence.walk(m.base, p)
	if err != nil {
		return Stat{}, err
	}
	n.close()
	return m.fixed(newStat(&n.st, r)), nil
}

// Top is the folder of the source that the model's name is a path below; "" where the
// name is no path on disk (a Hugging Face cache's).
func (m *Model) Top() string { return m.top }

// Above returns the attributes of a folder above the model's, by the part of the name
// that leads there.
func (m *Model) Above(prefix string) (Stat, error) {
	n, r, err := m.fence.walk(m.base, path.Join(m.top, prefix))
	if err != nil {
		return Stat{}, err
	}
	n.close()
	return newStat(&n.st, r), nil
}

// fixed takes the times off a published file's generation: its bytes are sealed,
// whatever its owner does to its times and mode.
func (m *Model) fixed(st Stat) Stat {
	if m.Published() {
		st.Generation.Mtime, st.Generation.Ctime = 0, 0
	}
	return st
}

// Generation is that of a file of the model, now: a few system calls, which an open
// can afford.
func (m *Model) Generation(rel string) (Generation, error) {
	p, err := m.path(rel)
	if err != nil {
		return Generation{}, err
	}
	st, err := m.fence.stat(p)
	if err != nil {
		return Generation{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Generation{}, fmt.Errorf("%s is no file any more: %w", p, iofs.ErrNotExist)
	}
	return m.fixed(Stat{Generation: generation(&st)}).Generation, nil
}

// Open opens a file of the model for reading. The attributes are those of what
// was opened. The caller closes the file.
func (m *Model) Open(rel string) (*os.File, Stat, error) {
	p, err := m.path(rel)
	if err != nil {
		return nil, Stat{}, err
	}
	n, r, err := m.fence.walk(m.base, p)
	if err != nil {
		return nil, Stat{}, err
	}
	defer n.close()
	if n.isFolder() {
		return nil, Stat{}, &os.PathError{Op: "open", Path: n.path, Err: unix.EISDIR}
	}
	f, err := n.read(rel)
	if err != nil {
		return nil, Stat{}, err
	}
	if n.hasACL() {
		n.st.Mode &^= 0o077
	}
	return f, m.fixed(newStat(&n.st, r)), nil
}

// List returns what a folder of the model holds, by name: files and folders.
func (m *Model) List(rel string) ([]Entry, error) {
	p, err := m.path(rel)
	if err != nil {
		return nil, err
	}
	top, err := m.folder()
	if err != nil {
		return nil, err
	}
	entries, err := m.fence.list(top, p)
	if err != nil {
		return nil, err
	}
	if rel == "" && m.only != nil {
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return !slices.Contains(m.only, e.Name) })
	}
	return entries, nil
}

// list reads a folder below top, or top itself; what is neither a file nor a folder
// in the end is left out, and links to a folder on the way down to it.
func (f *Fence) list(top, dir string) ([]Entry, error) {
	entries, _, err := f.listLinks(top, dir)
	return entries, err
}

// listLinks lists a folder and says whether anything in it is a symlink.
func (f *Fence) listLinks(top, dir string) (out []Entry, links bool, err error) {
	n, err := f.find(dir)
	if err != nil {
		return nil, false, err
	}
	defer n.close()
	found, err := n.names()
	if err != nil {
		return nil, false, err
	}
	out = make([]Entry, 0, len(found))
	var above []identity // dir and the folders up to top
	for _, e := range found {
		kind, link := e.Type(), e.Type()&iofs.ModeSymlink != 0
		if link {
			links = true
			target, err := f.stat(path.Join(dir, e.Name()))
			if err != nil {
				continue
			}
			kind = iofs.ModeIrregular
			switch target.Mode & unix.S_IFMT {
			case unix.S_IFREG:
				kind = 0
			case unix.S_IFDIR:
				kind = iofs.ModeDir
			}
			if above == nil {
				above = f.folders(top, dir)
			}
			if slices.Contains(above, identity{uint64(target.Dev), target.Ino}) {
				continue // a loop
			}
		}
		switch kind {
		case 0:
			out = append(out, Entry{Name: e.Name(), link: link})
		case iofs.ModeDir:
			out = append(out, Entry{Name: e.Name(), Folder: true, link: link})
		}
	}
	return out, links, nil
}

// folders are those on the way from dir up to top.
func (f *Fence) folders(top, dir string) []identity {
	var out []identity
	for {
		if st, err := f.stat(dir); err == nil {
			out = append(out, identity{uint64(st.Dev), st.Ino})
		}
		if dir == top || len(dir) <= len(top) {
			return out
		}
		dir = path.Dir(dir)
	}
}
