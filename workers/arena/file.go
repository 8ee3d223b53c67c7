// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package arena

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/modelfs/modelfs/tensors/shm"
	"github.com/modelfs/modelfs/workers/handler"
)

const (
	lineSize = 64
	pageSize = 4096
	hugeSize = 2 << 20
	// mostBytes can be rounded up without an overflow.
	mostBytes = math.MaxInt64 - hugeSize
)

// span is bytes of a file: [from, to), multiples of lineSize.
type span struct{ from, to int64 }

// file is one with what is free of it. Its Arena's mu guards it.
type file struct {
	handler.File
	mapping *shm.Shared

	free    []span // by offset, none empty, no two that touch
	largest int64  // no free span is longer; it may be too large
	taken   int64
	regions int
	idle    time.Time // when the last region was freed
	retired bool      // no region is taken of it any more
}

// alignment is that of regions of so many bytes.
func alignment(bytes int64) int64 {
	switch {
	case bytes >= hugeSize:
		return hugeSize
	case bytes >= pageSize:
		return pageSize
	}
	return lineSize
}

func roundUp(n, to int64) int64 { return (n + to - 1) &^ (to - 1) }

// take finds the first place for so many bytes.
func (f *file) take(bytes int64) (span, bool) {
	need, align := roundUp(max(bytes, 1), lineSize), alignment(bytes)
	if need > f.largest {
		return span{}, false
	}
	longest := int64(0)
	for i, s := range f.free {
		got := span{from: roundUp(s.from, align)}
		got.to = got.from + need
		if got.to <= s.to {
			f.cut(i, got)
			f.taken += need
			f.regions++
			return got, true
		}
		longest = max(longest, s.to-s.from)
	}
	f.largest = longest
	return span{}, false
}

// cut takes a piece out of the i-th free span.
func (f *file) cut(i int, got span) {
	s := f.free[i]
	switch before, after := s.from < got.from, got.to < s.to; {
	case before && after:
		f.free[i].to = got.from
		f.free = slices.Insert(f.free, i+1, span{got.to, s.to})
	case before:
		f.free[i].to = got.from
	case after:
		f.free[i].from = got.to
	default:
		f.free = slices.Delete(f.free, i, i+1)
	}
}

// give makes a span free again, one with what touches it.
func (f *file) give(s span) {
	f.taken -= s.to - s.from
	f.regions--
	i := sort.Search(len(f.free), func(i int) bool { return f.free[i].from >= s.to })
	before := i > 0 && f.free[i-1].to == s.from
	after := i < len(f.free) && f.free[i].from == s.to
	switch {
	case before && after:
		s = span{f.free[i-1].from, f.free[i].to}
		f.free[i-1] = s
		f.free = slices.Delete(f.free, i, i+1)
	case before:
		f.free[i-1].to = s.to
		s = f.free[i-1]
	case after:
		f.free[i].from = s.from
		s = f.free[i]
	default:
		f.free = slices.Insert(f.free, i, s)
	}
	f.largest = max(f.largest, s.to-s.from)
}
