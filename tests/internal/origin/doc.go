// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package origin is a filesystem for tests that models can come from: it counts
// the bytes that are read from it, holds reads back until it is told to let them
// pass, and exchanges a file's content at any moment, also in the middle of a
// load.
//
// Files are in memory and appear below folders that are made of their names. A
// read that is held back can be interrupted. Attributes are never cached by the
// kernel, so that a change shows at once.
package origin
