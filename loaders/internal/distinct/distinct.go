// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package distinct tells apart what a file gives one name, as a folder of tensors
// has every name once.
package distinct

import "strconv"

// Names are the names that are taken, each with the number that its next namesake
// may get. Its zero value has none.
type Names struct {
	next map[string]int
}

// Take takes a name, and says whether it was free.
func (n *Names) Take(name string) bool {
	if _, taken := n.next[name]; taken {
		return false
	}
	if n.next == nil {
		n.next = make(map[string]int)
	}
	n.next[name] = 2
	return true
}

// Grow makes room for n names in one step.
func (n *Names) Grow(names int) {
	if n.next == nil {
		n.next = make(map[string]int, names)
	}
}

// Make takes a name or, if that is taken, the first of name~2, name~3 and so on that
// is free. It looks at no number twice, so that many namesakes cost no more than
// others.
func (n *Names) Make(name string) string {
	if n.Take(name) {
		return name
	}
	for {
		other := name + "~" + strconv.Itoa(n.next[name])
		n.next[name]++
		if n.Take(other) {
			return other
		}
	}
}
