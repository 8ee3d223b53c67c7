// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"fmt"
	"sync/atomic"

	"github.com/modelfs/modelfs/workers/arena"
	"github.com/modelfs/modelfs/workers/handler"
)

// hold counts who still needs a region: the execution, until its handler has let go,
// and every response that shows a part of it, until it is written.
type hold struct {
	region *arena.Region
	users  atomic.Int32
}

func newHold(r *arena.Region) *hold {
	h := &hold{region: r}
	h.users.Store(1)
	return h
}

func (h *hold) take() { h.users.Add(1) }

func (h *hold) release() {
	if h.users.Add(-1) == 0 {
		h.region.Free()
	}
}

// has says whether a place lies in the region.
func (h *hold) has(p handler.Place) bool {
	r := h.region.Place
	return p.File == r.File && p.Offset >= r.Offset && p.Offset+p.Bytes <= r.Offset+r.Bytes
}

// take takes a region of the arena.
func (s *Server) take(bytes int64) (*hold, error) {
	if most := s.cfg.MaxTensorBytes; most > 0 && bytes > most {
		return nil, fmt.Errorf("%w: %d bytes are wanted, the most is %d", ErrRoom, bytes, most)
	}
	r, err := s.arena.Take(bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes: %w", ErrRoom, bytes, err)
	}
	return newHold(r), nil
}
