// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

// links are a node's neighbours in a list.
type links[N any] struct{ prev, next *N }

// list is a list whose nodes have their links in themselves, so that one goes from the
// middle without a search, and into it without an allocation.
type list[N any] struct {
	first, last *N
	at          func(*N) *links[N] // the links of this list in a node
}

func (l *list[N]) push(n *N) {
	at := l.at(n)
	at.prev, at.next = l.last, nil
	if l.last == nil {
		l.first = n
	} else {
		l.at(l.last).next = n
	}
	l.last = n
}

func (l *list[N]) remove(n *N) {
	at := l.at(n)
	if at.prev == nil {
		l.first = at.next
	} else {
		l.at(at.prev).next = at.next
	}
	if at.next == nil {
		l.last = at.prev
	} else {
		l.at(at.next).prev = at.prev
	}
	*at = links[N]{}
}

// toEnd moves a node behind all others.
func (l *list[N]) toEnd(n *N) {
	if l.last != n {
		l.remove(n)
		l.push(n)
	}
}
