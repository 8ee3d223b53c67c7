// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"path"
	"path/filepath"
	"regexp"
)

// Alone is the source of a folder that is one model, whatever lies in it. In a
// snapshot of a Hugging Face cache the links to the repository's blobs are the
// source's own, as if the whole cache were one.
func Alone(dir string) Source { return &alone{single{spec: dir, dir: filepath.Clean(dir)}} }

type alone struct{ single }

func (s *alone) Scan(ctx context.Context) ([]*Model, error) {
	models, err := s.single.Scan(ctx)
	if repo, ok := Snapshot(s.dir); ok && err == nil {
		models[0].blobs = (&revision{repo: repo}).blob
	}
	return models, err
}

// repository is the name of a repository's folder in a Hugging Face cache.
var repository = regexp.MustCompile(`^(models|datasets|spaces)--.`)

// Snapshot says whether a folder's path is that of a snapshot in a Hugging Face
// cache, or below it, and which repository's: models--org--name, which holds blobs
// too.
func Snapshot(dir string) (repo string, ok bool) {
	for ; dir != path.Dir(dir); dir = path.Dir(dir) {
		snapshots := path.Dir(dir)
		repo = path.Dir(snapshots)
		if path.Base(snapshots) == "snapshots" && repository.MatchString(path.Base(repo)) {
			return repo, true
		}
	}
	return "", false
}

// Unnamed says whether a folder's path is that of the part of a Hugging Face cache
// which holds no file by the name that programs open it by: the blobs and references
// of a repository, the names of files that it has not, and locks.
func Unnamed(dir string) bool {
	above := path.Base(path.Dir(dir))
	switch path.Base(dir) {
	case "blobs", "refs", ".no_exist":
		return repository.MatchString(above)
	}
	return above == ".locks" && repository.MatchString(path.Base(dir))
}
