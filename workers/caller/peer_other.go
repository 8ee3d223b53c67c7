// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package caller

import "errors"

// kernelPeer fails: who connects to a Unix socket is known on Linux only.
func kernelPeer(int) (User, error) {
	return User{}, errors.New("who connects to a Unix socket is known on Linux only")
}

// overflowUID says that there is none.
func overflowUID() (uint32, bool) { return 0, false }
