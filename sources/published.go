// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// published is the folder on the daemon's own tmpfs where models lie that processes
// have copied into the mount. It is private to the daemon: permissions begin below
// it.
type published struct{ folder }

// Published makes the source of models that were copied into the mount.
func Published(dir string) Source {
	return &published{folder{spec: "published", dir: path.Clean(dir)}}
}

// PublishedDepth is how deep below its source a published model may lie.
const PublishedDepth = maxDepth

// MakesModel says whether a file makes the folder that it lies in a model, unless a
// folder above is one.
func MakesModel(name string) bool { return isModelFile(name) || IsWeight(name) }

func (s *published) Kind() string { return "published" }

// Scan finds models as in any folder, but that the folder itself is never one.
func (s *published) Scan(ctx context.Context) ([]*Model, error) {
	entries, err := s.fence.list(s.dir, s.dir)
	if err != nil {
		return nil, fmt.Errorf("scan what is published: %w", err)
	}
	scan := descent{ctx: ctx, top: s.dir, now: make(map[string]glance)}
	for _, e := range entries {
		if e.Folder {
			scan.descend(e, "", 1)
		}
	}
	for _, m := range scan.found {
		m.base = s.dir
	}
	slices.SortStableFunc(scan.found, func(a, b *Model) int { return strings.Compare(a.name, b.name) })
	return scan.found, ctx.Err()
}
