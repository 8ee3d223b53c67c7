// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package caller says who is at the other end of a connection, and makes the sockets
// that connections come to.
//
// On a Unix socket the kernel says it: uid, gid and supplementary groups at the time
// of connect(2) (SO_PEERCRED, SO_PEERGROUPS). All who have no number in this user
// namespace have one there together, the overflow uid: they are not known. Over TCP
// nobody is known, unless a token or a client's certificate says who calls. Who is not
// known is not uid 0: Caller.User is nil then.
//
// One Credentials serves all listeners of a server: it looks at each connection by
// itself, asks the kernel at a Unix socket, and does the TLS handshake at another when
// there is a TLS configuration. FromContext then says who makes a call. A token says
// more than the connection that it comes over: a proxy that serves many has one
// connection and their tokens.
//
// # Errors
//
// ErrToken: what a caller shows to say who he is, is not valid. To show
// nothing is no error. No error has a token in it.
package caller
