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

// Equal says whether two are the same. Groups are compared as they are: users that this
// package makes have them sorted, each once.
func (u User) Equal(o User) bool {
	return u.Uid == o.Uid && u.Gid == o.Gid && slices.Equal(u.Groups, o.Groups)
}

// normal is the user with sorted groups.
func (u User) normal() User {
	u.Groups = slices.Clone(u.Groups)
	slices.Sort(u.Groups)
	u.Groups = slices.Compact(u.Groups)
	return u
}

// Caller is who calls.
type Caller struct {
	// User is nil when nobody says who it is.
	User *User
	// Key is the same for all calls of one caller: "uid 1000", or the address of a
	// connection that nobody knows more of, without its port: who opens a thousand
	// connections has no more turns than who opens one. Queues are fair between keys.
	Key string
}
