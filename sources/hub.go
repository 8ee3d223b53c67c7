// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// repoPrefix begins the folders of models in a Hugging Face cache
// ("models--org--name"); datasets and spaces have others.
const repoPrefix = "models--"

// hub is a Hugging Face cache: models--org--name/{blobs,refs,snapshots}.
type hub struct {
	spec, dir string
	fence     *Fence
}

func (s *hub) Spec() string { return s.spec }

func (s *hub) Kind() string { return "huggingface" }

func (s *hub) Scan(ctx context.Context) ([]*Model, error) {
	entries, err := s.fence.list(s.dir, s.dir)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", s.spec, err)
	}
	var models []*Model
	for _, e := range entries {
		repo, ok := strings.CutPrefix(e.Name, repoPrefix)
		if !e.Folder || !ok || repo == "" {
			continue
		}
		name := strings.ReplaceAll(repo, "--", "/")
		if !iofs.ValidPath(name) || name == "." {
			continue
		}
		r := &revision{repo: path.Join(s.dir, e.Name), fence: s.fence}
		if _, err := r.folder(); err != nil {
			continue // nothing downloaded, or not yet
		}
		models = append(models, &Model{name: name, folder: r.folder, blobs: r.blob, fence: s.fence})
	}
	slices.SortStableFunc(models, func(a, b *Model) int { return strings.Compare(a.name, b.name) })
	return models, ctx.Err()
}

// revision finds the snapshot of a repository that is current.
type revision struct {
	repo  string
	fence *Fence

	mu  sync.Mutex
	at  time.Time
	dir string
}

// fresh is how long a revision is taken for current.
const fresh = time.Second

// folder is the snapshot that refs/main names; without that reference, the only
// snapshot there is.
func (r *revision) folder() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dir != "" && time.Since(r.at) < fresh {
		return r.dir, nil
	}
	dir, err := r.find()
	if err != nil {
		return "", err
	}
	r.dir, r.at = dir, time.Now()
	return dir, nil
}

// commit is what a reference may hold: a name, never a path.
var commit = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,99}$`)

func (r *revision) find() (string, error) {
	snapshots := path.Join(r.repo, "snapshots")
	text, err := r.fence.readShort(path.Join(r.repo, "refs", "main"))
	switch {
	case err == nil:
		name := strings.TrimSpace(text)
		if !commit.MatchString(name) {
			return "", fmt.Errorf("%s/refs/main names no revision: %w", r.repo, iofs.ErrNotExist)
		}
		dir := path.Join(snapshots, name)
		if st, err := r.fence.stat(dir); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return "", fmt.Errorf("%s: revision %s is not downloaded: %w", r.repo, name, iofs.ErrNotExist)
		}
		return dir, nil
	case !errors.Is(err, iofs.ErrNotExist):
		return "", err
	}
	entries, err := r.fence.list(snapshots, snapshots)
	if err != nil {
		return "", err
	}
	if len(entries) != 1 || !entries[0].Folder {
		return "", fmt.Errorf("%s has no refs/main and %d snapshots: %w", r.repo, len(entries), iofs.ErrNotExist)
	}
	return path.Join(snapshots, entries[0].Name), nil
}

// readShort reads a small regular file; of anything longer, the beginning.
func (f *Fence) readShort(name string) (string, error) {
	n, _, err := f.walk("", name)
	if err != nil {
		return "", err
	}
	defer n.close()
	file, err := n.open(unix.O_NONBLOCK)
	if err != nil {
		return "", err
	}
	defer file.Close()
	b := make([]byte, 256)
	size, err := file.Read(b)
	if size == 0 && err != nil {
		return "", fmt.Errorf("%s is empty: %w", name, iofs.ErrNotExist)
	}
	return string(b[:size]), nil
}
