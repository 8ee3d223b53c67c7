// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// chores counts what the janitor asked for.
type chores struct {
	next            time.Duration
	sweeps, retries atomic.Int64
}

func (c *chores) Sweep() time.Duration { c.sweeps.Add(1); n := c.next; c.next = 0; return n }

func (c *chores) Retry() int { c.retries.Add(1); return 0 }

func TestJanitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := &chores{next: 5 * time.Second}
		events := make(chan struct{}, 1)
		j := newJanitor(work, events, make(chan struct{}, 1))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); j.run(ctx) }()

		time.Sleep(4 * time.Second)
		synctest.Wait()
		if work.sweeps.Load() != 1 {
			t.Errorf("%d sweeps before the deadline, want the first one alone", work.sweeps.Load())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if work.sweeps.Load() != 2 {
			t.Errorf("%d sweeps after the deadline, want 2", work.sweeps.Load())
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if work.sweeps.Load() != 2 {
			t.Errorf("an idle janitor woke up %d times in a day", work.sweeps.Load()-2)
		}
		events <- struct{}{}
		time.Sleep(time.Second)
		synctest.Wait()
		if work.retries.Load() != 1 {
			t.Errorf("%d retries after an event, want 1", work.retries.Load())
		}
		j.nudge()
		j.nudge()
		synctest.Wait()
		if work.retries.Load() != 1 || work.sweeps.Load() < 4 {
			t.Errorf("after a nudge: %d retries, %d sweeps", work.retries.Load(), work.sweeps.Load())
		}
		cancel()
		<-done
	})
}
