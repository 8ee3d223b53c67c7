// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// userAttrs is the namespace of all attributes here. The kernel asks for others
// (security.capability, system.posix_acl_access) by itself, and often.
const userAttrs = "user."

// GetXAttr writes a value, or says how long it is when the buffer is too small.
func (b *bridge) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if !strings.HasPrefix(name, userAttrs) {
		return 0, fuse.ENODATA
	}
	b.count(opXattr)
	n, e, ok := b.table.get(in.NodeId)
	if !ok {
		return 0, fuse.Status(syscall.ESTALE)
	}
	a, ok := e.(Attributed)
	if !ok {
		return 0, fuse.ENODATA
	}
	value, err := a.Xattr(request(cancel, in), caller(in), name)
	if err != nil {
		return 0, b.fail("getxattr "+name, n, err)
	}
	return answer(dest, value)
}

// ListXAttr writes the names, each ended by NUL.
func (b *bridge) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	b.count(opXattr)
	n, e, ok := b.table.get(in.NodeId)
	if !ok {
		return 0, fuse.Status(syscall.ESTALE)
	}
	a, ok := e.(Attributed)
	if !ok {
		return 0, fuse.OK
	}
	names, err := a.ListXattr(request(cancel, in))
	if err != nil {
		return 0, b.fail("listxattr", n, err)
	}
	var all []byte
	for _, name := range names {
		all = append(append(all, name...), 0)
	}
	return answer(dest, all)
}

func answer(dest, value []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// SetXAttr changes an attribute.
func (b *bridge) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	b.count(opXattr)
	n, e, ok := b.table.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	a, ok := e.(Attributed)
	if !ok || !strings.HasPrefix(name, userAttrs) {
		return fuse.EPERM
	}
	if err := a.SetXattr(request(cancel, &in.InHeader), caller(&in.InHeader), name, value); err != nil {
		return b.fail("setxattr "+name, n, err)
	}
	return fuse.OK
}

// RemoveXAttr is refused: every attribute is a view of something.
func (b *bridge) RemoveXAttr(<-chan struct{}, *fuse.InHeader, string) fuse.Status { return fuse.EPERM }
