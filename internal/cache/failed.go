// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"sync"
	"time"
)

// failed is why loads failed that nobody waited for: those that an open without waiting
// has started. The next such open is told, else it would start one after the other.
type failed struct {
	mu  sync.Mutex
	why map[Part]failure
}

type failure struct {
	err error
	at  time.Time
}

// Who does not come back within this time is told nothing: by then the reason may be
// gone. What is forgotten costs one more load.
const (
	rememberFailure = 10 * time.Second
	mostFailures    = 1000
)

func (f *failed) add(p Part, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why == nil || len(f.why) >= mostFailures {
		f.why = make(map[Part]failure)
	}
	f.why[p] = failure{err, time.Now()}
}

// take returns the error, once; nil where there is none.
func (f *failed) take(p Part) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, ok := f.why[p]
	delete(f.why, p)
	if !ok || time.Since(was.at) > rememberFailure {
		return nil
	}
	return was.err
}
