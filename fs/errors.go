// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import "errors"

// What a backend answers with. Every one has a row in the errno table
// (errno.go); an error that has none is EIO, never ENOSYS: one ENOSYS from OPEN
// and the kernel never sends OPEN again on the mount.
var (
	ErrNotExist    = errors.New("no such name")                     // ENOENT
	ErrStale       = errors.New("the name has another content now") // ESTALE
	ErrAgain       = errors.New("not loaded yet")                   // EAGAIN
	ErrNoAttr      = errors.New("no such attribute")                // ENODATA
	ErrPermission  = errors.New("not permitted")                    // EPERM
	ErrAccess      = errors.New("permission denied")                // EACCES
	ErrReadOnly    = errors.New("comes from a source: read-only")   // EROFS
	ErrInvalid     = errors.New("invalid value")                    // EINVAL
	ErrBusy        = errors.New("in use")                           // EBUSY
	ErrNoRoom      = errors.New("no room")                          // ENOMEM
	ErrIO          = errors.New("input/output error")               // EIO
	ErrExist       = errors.New("name exists")                      // EEXIST
	ErrNotEmpty    = errors.New("folder is not empty")              // ENOTEMPTY
	ErrWriting     = errors.New("another process is writing it")    // ETXTBSY
	ErrNoSpace     = errors.New("no space")                         // ENOSPC
	ErrElsewhere   = errors.New("too far to move")                  // EXDEV
	ErrName        = errors.New("name too long")                    // ENAMETOOLONG
	ErrNoFiles     = errors.New("too many open files")              // ENFILE
	ErrLoop        = errors.New("leads into this mount itself")     // ELOOP
	ErrUnsupported = errors.New("not supported here")               // EOPNOTSUPP
)
