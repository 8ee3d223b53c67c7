// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package hostile is what the tests of every format do to its parser: they look
// at what it takes, makes and says for any bytes, cut files off at every byte,
// flip every bit, and have every read fail.
//
// A test that looks must not run in parallel with others: what is allocated is
// counted for the whole process.
package hostile
