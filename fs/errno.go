// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// errnos is the one table of what errors become. The first that matches counts.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	{ErrNotExist, syscall.ENOENT},
	{ErrStale, syscall.ESTALE},
	{ErrAgain, syscall.EAGAIN},
	{ErrNoAttr, syscall.ENODATA},
	{ErrPermission, syscall.EPERM},
	{ErrAccess, syscall.EACCES},
	{ErrReadOnly, syscall.EROFS},
	{ErrInvalid, syscall.EINVAL},
	{ErrBusy, syscall.EBUSY},
	{ErrNoRoom, syscall.ENOMEM},
	{ErrIO, syscall.EIO},
	{ErrExist, syscall.EEXIST},
	{ErrNotEmpty, syscall.ENOTEMPTY},
	{ErrWriting, syscall.ETXTBSY},
	{ErrNoSpace, syscall.ENOSPC},
	{ErrElsewhere, syscall.EXDEV},
	{ErrName, syscall.ENAMETOOLONG},
	{ErrNoFiles, syscall.ENFILE},
	{ErrLoop, syscall.ELOOP},
	{ErrUnsupported, syscall.EOPNOTSUPP},
	{context.Canceled, syscall.EINTR},
	{context.DeadlineExceeded, syscall.EINTR},
	{os.ErrNotExist, syscall.ENOENT},
	{os.ErrPermission, syscall.EACCES},
	{syscall.EMFILE, syscall.ENFILE}, // the daemon has too many files open, not the caller
	{syscall.ENFILE, syscall.ENFILE},
}

// status maps an error to what the kernel is told. Unknown is EIO.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	for _, row := range errnos {
		if errors.Is(err, row.err) {
			return fuse.Status(row.errno)
		}
	}
	return fuse.EIO
}
