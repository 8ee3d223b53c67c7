// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package loaders

import (
	"errors"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// FormatError says what is wrong with a file's content, and at which byte.
type FormatError = malformed.Error

var (
	// ErrNotWeights says that a name is not one of a weight file.
	ErrNotWeights = errors.New("not a weight file, by its name")
	// ErrUnsupported says that a format is known as one of weights, and not read.
	ErrUnsupported = errors.New("format is not read")
)
