// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// The attributes that the commands read and set, on models/<model>.
const (
	stateAttribute    = "user.modelfs.state"
	bytesAttribute    = "user.modelfs.bytes"
	residentAttribute = "user.modelfs.resident"
	refsAttribute     = "user.modelfs.refs"
	errorAttribute    = "user.modelfs.error"
	pinnedAttribute   = "user.modelfs.pinned"
	loadingAttribute  = "user.modelfs.loading" // bytes of loads in flight that have arrived
	waitAttribute     = "user.modelfs.wait"    // loads, waits, and returns the state
	evictAttribute    = "user.modelfs.evict"
)

// attributes reads and sets extended attributes.
type attributes interface {
	get(path, name string) (string, error)
	set(path, name, value string) error
}

// kernelAttributes are the real ones.
type kernelAttributes struct{}

func (kernelAttributes) get(path, name string) (string, error) {
	buf := make([]byte, 4096)
	for {
		n, err := unix.Getxattr(path, name, buf)
		switch {
		case errors.Is(err, unix.ERANGE) && len(buf) < 1<<16:
			buf = make([]byte, 1<<16)
		case errors.Is(err, unix.EINTR): // the Go runtime's own signals
		case err != nil:
			return "", err
		default:
			return string(buf[:n]), nil
		}
	}
}

func (kernelAttributes) set(path, name, value string) error {
	for {
		err := unix.Setxattr(path, name, []byte(value), 0)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// number reads an attribute that is a decimal number; 0 where there is none.
func (p *program) number(path, name string) int64 {
	text, err := p.attributes.get(path, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
