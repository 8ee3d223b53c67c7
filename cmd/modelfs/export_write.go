// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"
)

// outputs are files that appear together: each is written under a temporary name
// beside its own, hidden, and gets its own when all of them are whole and on disk.
// Only a SIGKILL or a crash of the machine leaves temporary files.
type outputs struct {
	dir, stem string
	force     bool
	files     []output // the list of shards is the last
}

type output struct {
	path string
	size int64
	temp string // "" once it has its name, or is removed
	file *os.File
}

func (o *outputs) add(name string, size int64) {
	o.files = append(o.files, output{path: filepath.Join(o.dir, name), size: size})
}

// create makes the temporary files, with room for all that comes: a disk that is too
// full says so before anything is read.
func (o *outputs) create(ctx context.Context) error {
	if err := o.free(); err != nil {
		return err
	}
	for i := range o.files {
		f := &o.files[i]
		temp := filepath.Join(o.dir, "."+filepath.Base(f.path)+"."+rand.Text()[:8]+".part")
		file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return errors.Join(err, o.discard())
		}
		f.temp, f.file = temp, file
		if err := reserve(ctx, file, f.size); err != nil {
			return errors.Join(o.explain(&fs.PathError{Op: "allocate", Path: f.path, Err: err}), o.discard())
		}
	}
	return nil
}

// reserve asks the filesystem for room. Those that give none in advance say so as
// they are written.
func reserve(ctx context.Context, f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
		switch {
		case errors.Is(err, unix.EINTR) && ctx.Err() == nil: // a signal of Go's own
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
			return nil
		default:
			return err
		}
	}
}

// shardName is that of a shard, after the stem.
var shardName = regexp.MustCompile(`^-\d{5}-of-\d{5}\.safetensors$`)

// free looks whether the names are free. Files of another export of the same name are
// in the way even of --force: with them beside the new ones, who opens the folder may
// take either.
func (o *outputs) free() error {
	ours := make(map[string]bool, len(o.files))
	for i := range o.files {
		f := &o.files[i]
		ours[filepath.Base(f.path)] = true
		st, err := os.Lstat(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case !st.Mode().IsRegular() && st.Mode()&fs.ModeSymlink == 0:
			return fmt.Errorf("%s is there, and no file", f.path)
		case !o.force:
			return fmt.Errorf("%s exists; --force overwrites it", f.path)
		}
	}
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if len(name) < len(o.stem) || name[:len(o.stem)] != o.stem || ours[name] {
			continue
		}
		if rest := name[len(o.stem):]; rest == weightSuffix || rest == weightSuffix+".index.json" || shardName.MatchString(rest) {
			return fmt.Errorf("%s is of another export of that name: remove it, or choose another name", filepath.Join(o.dir, name))
		}
	}
	return nil
}

// sync brings a file to disk.
func (f *output) sync() error {
	if err := f.file.Sync(); err != nil {
		return err
	}
	return f.file.Close()
}

// commit gives the files their names, the list of shards last. If that fails, those
// that have theirs are removed again.
func (o *outputs) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if o.force && len(o.files) > 1 { // a crash in between must not leave a mixture that looks whole
		if err := remove(o.files); err != nil {
			return err
		}
	}
	for i := range o.files {
		f := &o.files[i]
		if err := o.rename(f); err != nil {
			return errors.Join(err, remove(o.files[:i]))
		}
		f.temp = ""
	}
	if err := syncFolder(o.dir); err != nil {
		return errors.Join(err, remove(o.files))
	}
	return nil
}

// remove takes back files that have their names, the list of shards first.
func remove(files []output) error {
	var all error
	for _, f := range slices.Backward(files) {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// rename gives one file its name, which must still be free without --force.
func (o *outputs) rename(f *output) error {
	if o.force {
		return os.Rename(f.temp, f.path)
	}
	err := unix.Renameat2(unix.AT_FDCWD, f.temp, unix.AT_FDCWD, f.path, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s has appeared during the export; --force overwrites it", f.path)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS): // a filesystem without it
		if _, err := os.Lstat(f.path); err == nil {
			return fmt.Errorf("%s has appeared during the export; --force overwrites it", f.path)
		}
		return os.Rename(f.temp, f.path)
	case err != nil:
		return &os.LinkError{Op: "rename", Old: f.temp, New: f.path, Err: err}
	}
	return nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // a filesystem that cannot
		return err
	}
	return nil
}

// discard removes what has no name yet.
func (o *outputs) discard() error {
	var all error
	for i := range o.files {
		f := &o.files[i]
		if f.temp == "" {
			continue
		}
		f.file.Close()
		all = errors.Join(all, os.Remove(f.temp))
		f.temp = ""
	}
	return all
}

// explain says how much room there would have to be.
func (o *outputs) explain(err error) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	need := int64(0)
	for i := range o.files {
		need += o.files[i].size
	}
	return fmt.Errorf("no room in %s for %s: %w", o.dir, humanSize(need), err)
}
