// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrUnknownCaller says that by reference is for callers that are known.
	ErrUnknownCaller = errors.New("nobody says who calls, and by reference is for callers that are known")
	// ErrPlace says that a name is none of a regular file below sessions/ or tensors/, or
	// of shared memory.
	ErrPlace = errors.New("not a place that can be named")
	// ErrNotExist says that there is no such file.
	ErrNotExist = errors.New("no such file")
	// ErrPermission says that the caller's user may not open the file, or that this
	// server cannot find out.
	ErrPermission = errors.New("permission denied")
	// ErrBounds says that the bytes are not all there.
	ErrBounds = errors.New("out of bounds")
	// ErrMismatch says that a file holds another tensor than the call says.
	ErrMismatch = errors.New("the file holds another tensor")
	// ErrOff says that by reference, or client shared memory, is not allowed.
	ErrOff = errors.New("not allowed by this server")
	// ErrExists says that the caller has a region of that name.
	ErrExists = errors.New("region exists")
	// ErrNoRegion says that the caller has no region of that name.
	ErrNoRegion = errors.New("no such region")
	// ErrLimit says that no more regions, or callers at a time, are served.
	ErrLimit = errors.New("too many")
	// ErrUnavailable says that the mount or a helper does not answer, or that a tensor
	// is not loaded in time: the call can be made again.
	ErrUnavailable = errors.New("not available now")
)

// failed makes an error of what the kernel says about opening a place.
func failed(p Place, err error) error {
	kind := ErrUnavailable
	switch {
	case errors.Is(err, unix.ENOENT): // which says no more than the kind, as EACCES
		return fmt.Errorf("open %s: %w", p, ErrNotExist)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("open %s: %w", p, ErrPermission)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ESTALE):
		kind = ErrNotExist
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS), errors.Is(err, unix.ETXTBSY):
		kind = ErrPermission
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("open %s: %w: links are not followed", p, ErrPlace)
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("open %s: %w: it leads out of the mount", p, ErrPlace)
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENXIO), errors.Is(err, errNotRegular):
		return fmt.Errorf("open %s: %w: it is no regular file", p, ErrPlace)
	case errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EINVAL):
		kind = ErrPlace
	}
	return fmt.Errorf("open %s: %w: %w", p, kind, err)
}
