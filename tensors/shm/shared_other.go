// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package shm

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// MapShared is not to be had: there is no mount on this system either.
func MapShared(f *os.File, _ int64, _ bool) (*Shared, error) {
	return nil, fmt.Errorf("map %s: shared files on this system: %w", f.Name(), errors.ErrUnsupported)
}

func wait(*atomic.Uint32, uint32, time.Duration) error {
	return fmt.Errorf("wait for a word in shared memory: %w", errors.ErrUnsupported)
}

func wake(*atomic.Uint32) {}
