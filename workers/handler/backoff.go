// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import "time"

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 30 * time.Second
	healthy    = time.Minute // who lived for so long is well
	tooOften   = 3           // deaths in a row after which nobody is sent to it
	trial      = time.Second // until somebody is sent to the next one all the same
)

// backoff says how long to wait before the next start of what dies, and whether there is
// any hope in it.
type backoff struct {
	deaths int // in a row
}

// died returns the pause until the next start.
func (b *backoff) died() time.Duration {
	b.deaths++
	pause := firstPause
	for range b.deaths - 1 {
		if pause *= 2; pause >= lastPause {
			return lastPause
		}
	}
	return pause
}

// well follows a call that was answered, or a long life.
func (b *backoff) well() { b.deaths = 0 }

// hopeless says that it died too often in a row.
func (b *backoff) hopeless() bool { return b.deaths >= tooOften }
