// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096
	hugePage = 2 << 20
	// growing is from which size of a write on a file is taken for a large one.
	growing = 64 << 10
	// largest is more than any memory: sums of it do not overflow.
	largest = 1 << 60
)

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// WriteAt stores bytes, where there is room for them.
func (h *Handle) WriteAt(p []byte, off int64) (int, error) {
	c := h.content
	if !h.writes {
		return 0, unix.EBADF
	}
	end := off + int64(len(p))
	if off > largest || end > largest {
		return 0, ErrNoSpace
	}
	c.growing.Lock()
	defer c.growing.Unlock()
	if end > c.size.Load() {
		if err := c.growLocked(context.Background(), h.file, end, len(p) >= growing); err != nil {
			return 0, err
		}
		defer c.recountLocked() // what a short write leaves
	}
	n, err := h.file.WriteAt(p, off)
	if now := off + int64(n); n > 0 && now > c.size.Load() {
		c.size.Store(now)
	}
	return n, translate(err)
}

// Resize makes a file as large as size. open says that the caller has the file open
// for writing; else a file under its final name is its writer's.
func (n *Node) Resize(ctx context.Context, size int64, open bool) error {
	h, err := n.resizer(size, open)
	if h == nil {
		return err
	}
	defer h.Close()
	return h.resize(ctx, size)
}

// resizer opens a file whose size is to change; nil if it is that size already.
func (n *Node) resizer(size int64, open bool) (*Handle, error) {
	a := n.area
	a.mu.Lock()
	defer a.mu.Unlock()
	c := n.content
	p, named := n.pathLocked()
	switch {
	case c == nil:
		return nil, ErrPlace
	case c.phase != written:
		return nil, ErrSealed
	case named && !open && a.cfg.Kind != Sessions && !temporary(p):
		return nil, ErrWriting
	case size == c.size.Load():
		return nil, nil
	case size > largest:
		return nil, ErrNoSpace
	}
	return c.writerLocked()
}

func (h *Handle) resize(ctx context.Context, size int64) error {
	c := h.content
	c.growing.Lock()
	defer c.growing.Unlock()
	if now := c.size.Load(); size < now {
		return fmt.Errorf("from %d to %d bytes: %w", now, size, ErrShrink)
	}
	if err := c.growLocked(ctx, h.file, size, false); err != nil {
		return err
	}
	c.size.Store(size)
	return nil
}

// Allocate takes room up to off+n, and makes the file as large. Room beyond the end of
// a file that stays as it is (keep) cannot be had.
func (h *Handle) Allocate(ctx context.Context, off, n int64, keep bool) error {
	c := h.content
	switch {
	case !h.writes:
		return unix.EBADF
	case off > largest || n > largest-off:
		return ErrNoSpace
	}
	end := off + n
	c.growing.Lock()
	defer c.growing.Unlock()
	switch {
	case end <= c.size.Load():
		return nil // all that there is has its room
	case keep:
		return ErrUnsupported
	}
	if err := c.growLocked(ctx, h.file, end, false); err != nil {
		return err
	}
	c.size.Store(end)
	return nil
}

// growLocked makes room up to end, in the quota and in memory. A large file takes
// whole huge pages ahead, if they fit: pages of its size are chosen when they are
// taken.
func (c *content) growLocked(ctx context.Context, f *os.File, end int64, large bool) (err error) {
	more := roundUp(end, pageSize) - c.counted.Load()
	if err := c.session.take(more); err != nil {
		return err
	}
	c.counted.Add(max(more, 0))
	defer func() {
		if err != nil {
			c.recountLocked()
		}
	}()
	if large && c.area.cfg.HugePages {
		err := c.backLocked(ctx, f, roundUp(end, hugePage))
		if !errors.Is(err, ErrNoSpace) {
			return err
		}
	}
	return c.backLocked(ctx, f, end)
}

// recountLocked gives the quota back what no byte is in.
func (c *content) recountLocked() {
	over := c.counted.Load() - roundUp(c.size.Load(), pageSize)
	if over > 0 {
		c.counted.Add(-over)
		c.session.give(over)
	}
}

// backLocked takes the memory for a file of size bytes.
func (c *content) backLocked(ctx context.Context, f *os.File, size int64) error {
	if size <= c.backed {
		return nil
	}
	more := roundUp(size, pageSize) - c.charge.Load()
	if err := c.take(ctx, more); err != nil {
		return err
	}
	if err := c.area.cfg.Extend(f, c.backed, size); err != nil {
		c.give(more)
		return translate(err)
	}
	c.backed = size
	return nil
}

// take reserves bytes of the budget.
func (c *content) take(ctx context.Context, bytes int64) error {
	if bytes <= 0 {
		return nil
	}
	if err := c.area.cfg.Room.Reserve(ctx, c.account, bytes); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	c.charge.Add(bytes)
	c.area.charged.Add(bytes)
	return nil
}

func (c *content) give(bytes int64) {
	if bytes <= 0 {
		return
	}
	c.area.cfg.Room.Unreserve(c.account, bytes)
	c.charge.Add(-bytes)
	c.area.charged.Add(-bytes)
}

// trimLocked gives back what was taken ahead. The file's time stays: nothing of it is
// written.
func (c *content) trimLocked(f *os.File) {
	size := c.size.Load()
	if c.backed <= size {
		return
	}
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	if err == nil {
		err = unix.Ftruncate(int(f.Fd()), size)
	}
	if err != nil {
		c.area.cfg.Log.Warn("room that was taken ahead stays", "file", f.Name(), "error", err)
		return
	}
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, procPath(f), times[:], 0)
	c.backed = size
	c.give(c.charge.Load() - roundUp(size, pageSize))
}
