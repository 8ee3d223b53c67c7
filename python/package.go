// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package python is the Python package modelfs as the program carries it, for handlers of
// inference.
package python

import "embed"

// Package has the folder modelfs.
//
//go:embed modelfs/*.py modelfs/*.binpb modelfs/worker/*.py
var Package embed.FS
