// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// watch kills the child when a call or its memory is beyond its limit, and makes it forget
// what it does not use.
func (p *Process) watch() {
	const second = time.Second
	every := second
	if limit := p.command.Limit; limit > 0 {
		every = min(every, max(limit/4, 10*time.Millisecond))
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var looked time.Time
	for {
		select {
		case <-p.dead:
			return
		case now := <-tick.C:
			if p.overdue(now) {
				p.kill(fmt.Errorf("no answer for %v", p.command.Limit))
			}
			if now.Sub(looked) < second-every/2 {
				continue
			}
			looked = now
			if own := ownMemory(p.pid); p.command.Memory > 0 && own > p.command.Memory {
				p.kill(fmt.Errorf("has %s of memory of its own, the limit is %s", size(own), size(p.command.Memory)))
			}
			if p.wmu.TryLock() { // else somebody writes, and may wait for the child
				p.forgetLocked()
				p.sweepLocked(now)
				p.wmu.Unlock()
			}
		}
	}
}

// overdue says whether the child has had a call for longer than it may.
func (p *Process) overdue(now time.Time) bool {
	if p.command.Limit <= 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	late := func(r *running, turn int64) bool {
		since := r.since.Load()
		return since != 0 && now.UnixNano()-max(since, turn) > int64(p.command.Limit)
	}
	if r := p.currentLocked(); r != nil {
		return late(r, p.turn.UnixNano())
	}
	for _, r := range p.calls {
		if late(r, 0) {
			return true
		}
	}
	return false
}

// currentLocked is the call that the child is at, where it has others behind it; nil if
// all of its calls run.
func (p *Process) currentLocked() (current *running) {
	if len(p.calls) == 0 || p.spec.Ahead == 0 { // there is no spec before the first call
		return nil
	}
	for _, r := range p.calls {
		if current == nil || r.id < current.id {
			current = r
		}
	}
	return current
}

// OwnMemory is what the child has that no file backs; 0 once it is gone.
func (p *Process) OwnMemory() int64 { return ownMemory(p.pid) }

func ownMemory(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("\nRssAnon:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	default:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	}
}
