// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// chunk is how many bytes are written after one look at the size.
const chunk = 4 << 20

// within says whether bytes at an offset lie in so many.
func within(what string, offset, bytes, size int64) error {
	if offset < 0 || bytes < 0 || offset > size || bytes > size-offset {
		return fmt.Errorf("%s: %w: %d bytes at %d, of %d", what, ErrBounds, bytes, offset, size)
	}
	return nil
}

// readInto fills p from an offset of a file.
func readInto(fd int, what string, p []byte, offset int64) error {
	for len(p) > 0 {
		n, err := again(func() (int, error) { return unix.Pread(fd, p, offset) })
		if err != nil {
			return fmt.Errorf("read %s: %w: %w", what, ErrUnavailable, err)
		}
		if n == 0 {
			return fmt.Errorf("read %s: %w: its owner has made it smaller meanwhile", what, ErrBounds)
		}
		p, offset = p[n:], offset+int64(n)
	}
	return nil
}

// writeFrom writes p at an offset of a file. It looks at the size before each chunk, so
// that it does not make a file grow that its owner made smaller. Between that look and
// the write he still can: the file then has up to a chunk more than he wanted, of his own
// memory, until he makes it smaller again.
func writeFrom(fd int, what string, p []byte, offset int64) error {
	for len(p) > 0 {
		part := p[:min(len(p), chunk)]
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("write %s: %w: %w", what, ErrUnavailable, err)
		}
		if offset+int64(len(part)) > st.Size {
			return fmt.Errorf("write %s: %w: its owner has made it smaller meanwhile", what, ErrBounds)
		}
		n, err := again(func() (int, error) { return unix.Pwrite(fd, part, offset) })
		switch {
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
			return fmt.Errorf("write %s: %w: %w", what, ErrBounds, err)
		case err != nil:
			return fmt.Errorf("write %s: %w: %w", what, ErrUnavailable, err)
		case n == 0:
			return fmt.Errorf("write %s: %w: nothing could be written", what, ErrUnavailable)
		}
		p, offset = p[n:], offset+int64(n)
	}
	return nil
}
