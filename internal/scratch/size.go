// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

var eof = io.EOF

const (
	pageSize = 4096
	hugePage = 2 << 20
	// growing is from which size of a write on a file is taken for a large one.
	growing = 64 << 10
)

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// WriteAt stores bytes, where there is room for them.
func (h *Handle) WriteAt(p []byte, off int64) (int, error) {
	c := h.content
	if !h.writes {
		return 0, unix.EBADF
	}
	end := off + int64(len(p))
	if end < off {
		return 0, unix.EFBIG
	}
	c.growing.Lock()
	defer c.growing.Unlock()
	if end > c.size.Load() {
		if err := c.growLocked(context.Background(), h, end, len(p) >= growing); err != nil {
			return 0, err
		}
	}
	n, err := h.file.WriteAt(p, off)
	if now := off + int64(n); n > 0 && now > c.size.Load() {
		c.size.Store(now)
	}
	c.touch()
	return n, translate(err)
}

// Resize makes a file as large as size.
func (n *Node) Resize(ctx context.Context, size int64) error {
	a := n.area
	a.mu.Lock()
	c, disk := n.content, ""
	var ok bool
	if c != nil {
		disk, ok = n.diskLocked()
	}
	switch {
	case c == nil:
		a.mu.Unlock()
		return ErrPlace
	case c.sealed:
		a.mu.Unlock()
		return ErrSealed
	case size < c.size.Load():
		a.mu.Unlock()
		return fmt.Errorf("from %d to %d bytes: %w", c.size.Load(), size, ErrShrink)
	case size == c.size.Load():
		a.mu.Unlock()
		return nil
	case !ok: // without a name it is reached by nobody's truncate(2), but by ftruncate
		disk = fmt.Sprintf("/proc/self/fd/%d", c.file.Fd())
	}
	a.mu.Unlock()
	fd, err := unix.Open(disk, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return translate(err)
	}
	defer unix.Close(fd)
	if err := c.resize(ctx, fd, size); err != nil {
		return err
	}
	c.trySeal() // one that waited for this
	return nil
}

func (c *content) resize(ctx context.Context, fd int, size int64) error {
	c.growing.Lock()
	defer c.growing.Unlock()
	if c.sealed { // meanwhile: it is written under this lock too
		return ErrSealed
	}
	if err := c.growFDLocked(ctx, fd, size, size); err != nil {
		return err
	}
	c.size.Store(max(size, c.size.Load()))
	c.touch()
	return nil
}

func (c *content) touch() {
	c.mu.Lock()
	c.used = time.Now()
	c.mu.Unlock()
}

// Allocate takes room up to off+n, and makes the file as large unless keep.
func (h *Handle) Allocate(ctx context.Context, off, n int64, keep bool) error {
	c := h.content
	end := off + n
	if !h.writes || end < off {
		return unix.EBADF
	}
	c.growing.Lock()
	defer c.growing.Unlock()
	if keep || end <= c.size.Load() {
		return nil // all that there is has its room
	}
	if err := c.growLocked(ctx, h, end, false); err != nil {
		return err
	}
	c.size.Store(end)
	return nil
}

// growLocked makes room up to end. A large file takes whole huge pages ahead, if they
// fit: pages of its size are chosen when they are taken.
func (c *content) growLocked(ctx context.Context, h *Handle, end int64, large bool) error {
	fd := int(h.file.Fd())
	if end <= c.backed {
		return nil
	}
	if large && c.area.cfg.HugePages {
		ahead := roundUp(end, hugePage)
		err := c.growFDLocked(ctx, fd, ahead, end)
		if !errors.Is(err, ErrNoSpace) {
			return err
		}
	}
	return c.growFDLocked(ctx, fd, end, end)
}

// growFDLocked takes the room for a backing of size bytes, of which quotas count
// those up to end.
func (c *content) growFDLocked(ctx context.Context, fd int, size, end int64) error {
	if size <= c.backed {
		return nil
	}
	more := roundUp(size, pageSize) - c.charge.Load()
	if err := c.take(ctx, more, roundUp(end, pageSize)-c.charge.Load()); err != nil {
		return err
	}
	err := unix.Ftruncate(fd, size)
	for err == nil {
		err = unix.Fallocate(fd, 0, c.backed, size-c.backed)
		if err != unix.EINTR {
			break
		}
		err = nil
	}
	if err != nil {
		_ = unix.Ftruncate(fd, c.backed)
		c.give(more)
		return translate(err)
	}
	c.backed = size
	return nil
}

// take reserves bytes of the budget; quota is how many of them the session's counts.
func (c *content) take(ctx context.Context, bytes, quota int64) error {
	if bytes <= 0 {
		return nil
	}
	if s := c.session; s != nil {
		if err := s.take(bytes, quota); err != nil {
			return err
		}
	}
	if err := c.area.cfg.Room.Reserve(ctx, c.account, bytes); err != nil {
		if s := c.session; s != nil {
			s.give(bytes)
		}
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
	if s := c.session; s != nil {
		s.give(bytes)
	}
	c.area.cfg.Room.Unreserve(c.account, bytes)
	c.charge.Add(-bytes)
	c.area.charged.Add(-bytes)
}

// trim gives back what was taken ahead, when nobody writes any more.
func (c *content) trim() {
	c.growing.Lock()
	defer c.growing.Unlock()
	c.mu.Lock()
	idle := c.writers == 0 && !c.freed
	c.mu.Unlock()
	if idle {
		c.trimLocked()
	}
}

// trimLocked is trim under growing.
func (c *content) trimLocked() {
	size := c.size.Load()
	if c.backed <= size {
		return
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", c.file.Fd()), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.Ftruncate(fd, size) == nil {
		c.backed = size
		c.give(c.charge.Load() - roundUp(size, pageSize))
	}
}
