// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package stream

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Streams need what only Linux has: a futex that is found by its file, and locks of
// an open file that go with it.
var errSystem = fmt.Errorf("streams on this system: %w", errors.ErrUnsupported)

func create(string, layout) (*Writer, error) { return nil, errSystem }

func openFile(string, int) (*os.File, layout, error) { return nil, layout{}, errSystem }

func locked(*os.File) (bool, error) { return false, errSystem }

func displaced(*os.File, string) bool { return false }

func now() time.Duration { return 0 }
