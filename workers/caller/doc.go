// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package caller says who is at the other end of a connection.
//
// On a Unix socket the kernel says it: uid, gid and supplementary groups at the time
// of connect(2) (SO_PEERCRED, SO_PEERGROUPS). Over TCP nobody is known, unless a token
// or a client's certificate says who calls. What nobody knows is not uid 0: Caller.User
// is nil then.
package caller
