// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import "slices"

// User is who the kernel, a token or a certificate says that somebody is: whose files
// he may have opened for him.
type User struct {
	Uid, Gid uint32
	Groups   []uint32
}

// Equal says whether two are the same, groups in any order they were given in included.
func (u User) Equal(o User) bool {
	return u.Uid == o.Uid && u.Gid == o.Gid && slices.Equal(u.Groups, o.Groups)
}

// Caller is who calls.
type Caller struct {
	// User is nil when nobody says who it is.
	User *User
	// Key is the same for all calls of one caller, and no other's: "uid 1000", or the
	// address of a connection that nobody knows more of. Queues are fair between keys.
	Key string
}
