// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package window reads untrusted bytes at any place of a file, with a fixed number
// of small pages as its memory. It is cursor's sibling for formats whose parts lead
// to each other by offsets, or hold each other in any order.
package window
