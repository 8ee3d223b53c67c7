// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"time"
)

// sweeper is what the janitor works for: the registry.
type sweeper interface {
	// Sweep frees what expired and says when to come back; 0: not by the clock.
	Sweep() time.Duration
	// Retry frees what waited for its last user, and returns how much that was.
	Retry() int
}

// janitor frees memory when its time has come: by the clock (TTL), and when the
// store says that somebody let go of a segment. With nothing to wait for it
// sleeps without a timer.
type janitor struct {
	work   sweeper
	events <-chan struct{} // some descriptor or mapping of a segment went
	wake   chan struct{}   // a deadline moved
	spacer time.Duration   // events closer together than this are one
}

func newJanitor(work sweeper, events <-chan struct{}, wake chan struct{}) *janitor {
	return &janitor{work: work, events: events, wake: wake, spacer: 20 * time.Millisecond}
}

func (j *janitor) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Stop()
		if next := j.work.Sweep(); next > 0 {
			timer.Reset(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-j.wake:
		case <-j.events:
			// A storm of closes is answered once: every event says the same.
			select {
			case <-time.After(j.spacer):
			case <-ctx.Done():
				return
			}
			j.work.Retry()
		}
	}
}

// nudge asks the janitor to look at the clock again; it never blocks.
func (j *janitor) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}
