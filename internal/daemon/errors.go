// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import "errors"

var (
	// ErrMountPoint says that the mount point cannot be used, and why.
	ErrMountPoint = errors.New("mount point cannot be used")
	// ErrUnavailable says that what was asked for with =on cannot be had here.
	ErrUnavailable = errors.New("not available")
)
