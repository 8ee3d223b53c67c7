// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"math"
	"time"
)

// slack is how late an item may go by the clock: what is due within it goes at
// once, so that a thousand deadlines are not a thousand wake-ups.
const slack = 50 * time.Millisecond

// Sweep frees what nobody has used for its time to live, and says when to come
// back; 0: not by the clock.
func (r *Registry[K, V]) Sweep() time.Duration {
	start := r.clock(time.Now()) // whoever refuses is due after it: the loop ends
	for {
		r.mu.Lock()
		it := r.expiring.first()
		if it == nil {
			r.sweepAt = 0
			r.unlock()
			return 0
		}
		now := time.Now()
		if it.deadline > start {
			wait := max(it.deadline-r.clock(now), int64(slack))
			r.sweepAt = r.clock(now) + wait
			r.unlock()
			return time.Duration(wait)
		}
		note := fmt.Sprintf("not used for %s", now.Sub(it.lastUsed).Round(time.Millisecond))
		r.claimLocked(it)
		r.mu.Unlock()
		_ = r.free(it, ReasonTTL, note)
	}
}

// clock is a time as deadlines are; never 0, and without the jumps of the wall
// clock.
func (r *Registry[K, V]) clock(t time.Time) int64 { return int64(t.Sub(r.born)) + 1 }

// expiresLocked sets when an item is due, if nobody uses it any more.
func (r *Registry[K, V]) expiresLocked(it *item[K, V]) {
	it.deadline = r.clock(it.lastUsed) + int64(it.group.ttl)
	if it.group.ttl > 0 && it.deadline < 0 {
		it.deadline = math.MaxInt64
	}
}

// hurryLocked asks for an earlier Sweep if the item is due before the next. It
// asks once: what it is about is taken as told.
func (r *Registry[K, V]) hurryLocked(it *item[K, V]) {
	if r.expiring.has(it) && (r.sweepAt == 0 || it.deadline < r.sweepAt-int64(slack)) {
		r.sweepAt = it.deadline
		r.sooner = true
	}
}

// unlock gives the mutex back and tells Config.Wake what has come up meanwhile.
func (r *Registry[K, V]) unlock() {
	sooner := r.sooner
	r.sooner = false
	r.mu.Unlock()
	if sooner && r.cfg.Wake != nil {
		r.cfg.Wake()
	}
}
