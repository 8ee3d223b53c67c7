// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"io"
	"slices"
	"strings"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
)

// ShardIndex is a list of shards: model.safetensors.index.json.
type ShardIndex struct {
	// Files are the shards, sorted, each once. They are plain relative paths.
	Files []string
	// Tensors says in which file a tensor is, as a place in Files.
	Tensors map[string]int
}

// ParseShardIndex reads a list of shards of size bytes: {"metadata": …,
// "weight_map": {tensor: file}}.
func ParseShardIndex(r io.ReaderAt, size int64) (*ShardIndex, error) {
	s := &scanner{Cursor: cursor.New(format, r, size)}
	if size > MaxHeader {
		return nil, s.at(0, "a list of shards of %d bytes, over the limit of %d", size, MaxHeader)
	}
	l := &ShardIndex{Tensors: make(map[string]int)}
	places := make(map[string]int)
	seen := false
	err := s.members(func(at int64) error {
		if string(s.text) != "weight_map" {
			return s.skip(0)
		}
		if seen {
			return s.at(at, "weight_map is there twice")
		}
		seen = true
		return s.members(func(at int64) error { return l.entry(s, at, places) })
	})
	if err != nil {
		return nil, err
	}
	if err := s.space(); err != nil {
		return nil, err
	}
	switch {
	case s.Left() > 0:
		return nil, s.Errorf("%d bytes follow the JSON", s.Left())
	case !seen:
		return nil, s.at(0, "there is no weight_map")
	}
	l.sort()
	return l, nil
}

// entry reads one tensor's file.
func (l *ShardIndex) entry(s *scanner, at int64, places map[string]int) error {
	tensor := string(s.text)
	if _, twice := l.Tensors[tensor]; twice {
		return s.at(at, "the tensor %.100q is there twice", tensor)
	}
	if err := s.string(true); err != nil {
		return err
	}
	file := string(s.text)
	if !local(file) {
		return s.at(at, "the shard %.100q is not below the model's folder", file)
	}
	place, ok := places[file]
	if !ok {
		place = len(l.Files)
		places[file] = place
		l.Files = append(l.Files, file)
	}
	l.Tensors[tensor] = place
	return nil
}

// sort puts the files in order and renumbers the tensors.
func (l *ShardIndex) sort() {
	before := slices.Clone(l.Files)
	slices.Sort(l.Files)
	now := make([]int, len(before))
	for i, f := range before {
		now[i], _ = slices.BinarySearch(l.Files, f)
	}
	for tensor, place := range l.Tensors {
		l.Tensors[tensor] = now[place]
	}
}

// local says whether a path stays below the folder that it is relative to.
func local(file string) bool {
	if file == "" || strings.ContainsAny(file, "\x00\\") {
		return false
	}
	for part := range strings.SplitSeq(file, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
