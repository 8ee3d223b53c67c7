// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelfs/modelfs/registry"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tensors/shm"
)

// loader reads a part from its origin into a new segment.
func (c *Cache) loader(r Recipe) registry.Load[*shm.Segment] {
	return func(ctx context.Context) (*shm.Segment, error) {
		start := time.Now()
		seg, err := c.load(ctx, r)
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("load failed", "part", r.Part.String(), "error", err)
			}
			return nil, fmt.Errorf("load %s: %w", r.Part, err)
		}
		took := time.Since(start)
		c.log.Info("loaded", "part", r.Part.String(), "bytes", r.Size(), "seconds", took.Seconds())
		return seg, nil
	}
}

func (c *Cache) load(ctx context.Context, r Recipe) (*shm.Segment, error) {
	f, st, err := r.Origin.Open(ctx, r.Part.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Generation != r.Part.Gen {
		return nil, ErrStale
	}
	b, err := c.create(r)
	if err != nil {
		return nil, err
	}
	done := c.progress.begin(r)
	defer done.end()
	if err := c.fill(ctx, b, f, r, done.report); err != nil {
		b.Discard()
		return nil, err
	}
	if err := unchanged(f, r.Part.Gen); err != nil {
		b.Discard()
		return nil, err
	}
	return b.Seal()
}

// create reserves a segment. Where segments keep a descriptor each, and have all that
// they may, the one that nobody has used for longest makes way.
func (c *Cache) create(r Recipe) (*shm.Builder, error) {
	for {
		b, err := c.store.Create(r.Part.String(), r.Size())
		if !errors.Is(err, shm.ErrNoFiles) || !c.registry.EvictNext(r.Part.String()+" needs its descriptor") {
			return b, err
		}
	}
}

// fill writes the part's bytes into the segment under construction.
func (c *Cache) fill(ctx context.Context, b *shm.Builder, f *os.File, r Recipe, report func(int64)) error {
	copy(b.Bytes(), r.Header)
	if r.Tensor == nil {
		return b.Fill(ctx, f, r.Offset, r.Length, int64(len(r.Header)), report)
	}
	if b.Bytes() == nil {
		return nil // empty, or not to be mapped: Seal says so
	}
	dst := b.Bytes()[len(r.Header):]
	origin := shm.OpenOrigin(f)
	defer origin.Close()
	if r.Tensor.Maker != nil {
		return r.Tensor.Maker.Make(ctx, origin, dst)
	}
	return tensors.Gather(ctx, dst, origin, r.Tensor)
}

// unchanged compares the open origin with the generation whose bytes were
// wanted: sizes and times of a file that was written meanwhile differ.
func unchanged(f *os.File, want sources.Generation) error {
	got, err := sources.GenerationOf(f)
	if err != nil {
		return err
	}
	if want.Mtime == 0 && want.Ctime == 0 { // published: sealed
		got.Mtime, got.Ctime = 0, 0
	}
	if got != want {
		return fmt.Errorf("%s: %d bytes of %s became %d bytes of %s: %w", f.Name(),
			want.Size, time.Unix(0, want.Mtime).Format(time.RFC3339Nano),
			got.Size, time.Unix(0, got.Mtime).Format(time.RFC3339Nano), ErrChanged)
	}
	return nil
}

// progressTable knows how far the loads in flight are, by model.
type progressTable struct {
	mu    sync.Mutex
	loads map[*loadProgress]struct{}
}

type loadProgress struct {
	table *progressTable
	part  Part
	bytes atomic.Int64
}

func (t *progressTable) init() { t.loads = make(map[*loadProgress]struct{}) }

func (t *progressTable) begin(r Recipe) *loadProgress {
	p := &loadProgress{table: t, part: r.Part}
	t.mu.Lock()
	t.loads[p] = struct{}{}
	t.mu.Unlock()
	return p
}

func (p *loadProgress) report(done int64) { p.bytes.Store(done) }

func (p *loadProgress) end() {
	p.table.mu.Lock()
	delete(p.table.loads, p)
	p.table.mu.Unlock()
}

// Loading returns how many bytes of the model's loads in flight have arrived.
func (c *Cache) Loading(model string) int64 {
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	var n int64
	for p := range c.progress.loads {
		if p.part.Model == model {
			n += p.bytes.Load()
		}
	}
	return n
}
