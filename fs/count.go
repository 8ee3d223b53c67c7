// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

// op is a kind of request that is counted.
type op int

const (
	opLookup op = iota
	opGetAttr
	opOpen
	opRead
	opRelease
	opOpenDir
	opReadDir
	opReleaseDir
	opStatFs
	opXattr
	opCreate
	opWrite
	ops // how many
)

var opNames = [ops]string{
	"lookup", "getattr", "open", "read", "release", "opendir", "readdir", "releasedir", "statfs", "xattr", "create", "write",
}

func (b *bridge) count(o op) { b.requests[o].Add(1) }
