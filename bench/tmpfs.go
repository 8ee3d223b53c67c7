// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nativeCopy puts a copy of a file on a tmpfs of its own, in huge pages: what
// mapping it costs without any FUSE. It has room for so many copies in all.
func nativeCopy(ctx context.Context, s *scope, from string, copies int64) (string, error) {
	st, err := os.Stat(from)
	if err != nil {
		return "", err
	}
	dir, err := s.folder("native")
	if err != nil {
		return "", err
	}
	// within_size gives a file huge pages up to the size that it has: so it gets its
	// size before its bytes.
	options := fmt.Sprintf("size=%d,huge=within_size,mode=700", copies*(st.Size()+64<<20))
	if err := unix.Mount("modelfs-bench", dir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, options); err != nil {
		return "", fmt.Errorf("mount a tmpfs with %s: %w", options, err)
	}
	s.add("unmount "+dir, func() error { return unix.Unmount(dir, unix.MNT_DETACH) })
	to := filepath.Join(dir, filepath.Base(from))
	return to, copyInto(ctx, from, to, 2<<20)
}

// copyInto copies a file by writes of one size. The copy has its whole size before
// its first byte.
func copyInto(ctx context.Context, from, to string, block int) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	for buf := make([]byte, block); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := in.Read(buf)
		if err == io.EOF {
			return out.Close()
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
	}
}
