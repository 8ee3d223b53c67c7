// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// session is what a session's folder has beside its files. The methods do nothing on
// nil: files that are in no session have no quota.
type session struct {
	mu    sync.Mutex
	quota int64 // 0: no limit
	bytes int64
	ttl   time.Duration // 0: for good
	used  time.Time
}

// take counts bytes, if the quota has them.
func (s *session) take(bytes int64) error {
	if s == nil || bytes <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quota > 0 && s.bytes+bytes > s.quota {
		return fmt.Errorf("%w: the session has %d of %d bytes, and %d more are wanted (user.modelfs.quota)", ErrNoSpace, s.bytes, s.quota, bytes)
	}
	s.bytes += bytes
	s.used = time.Now()
	return nil
}

func (s *session) give(bytes int64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= bytes
}

// touch notes a use.
func (s *session) touch() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = time.Now()
}

// left is how long a session that nobody uses has; false if it stays.
func (s *session) left(now time.Time) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ttl - now.Sub(s.used), s.ttl > 0
}

// ErrNoSession says that a node is no session's folder.
var ErrNoSession = errors.New("no session")

// Session returns a session's bytes, quota and time to live.
func (n *Node) Session() (bytes, quota int64, ttl time.Duration, err error) {
	s := n.session // set before anybody has the node
	if s == nil {
		return 0, 0, 0, ErrNoSession
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, s.quota, s.ttl, nil
}

// SetSession changes a session's quota or time to live; nil stays. A quota below what
// is there keeps it, and lets nothing grow.
func (n *Node) SetSession(quota *int64, ttl *time.Duration) error {
	s := n.session
	if s == nil {
		return ErrNoSession
	}
	s.mu.Lock()
	if quota != nil {
		s.quota = *quota
	}
	if ttl != nil {
		s.ttl, s.used = *ttl, time.Now()
	}
	now := s.ttl
	s.mu.Unlock()
	n.area.mu.Lock()
	defer n.area.mu.Unlock()
	n.area.wakeLocked(now)
	return nil
}
