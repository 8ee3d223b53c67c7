// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/modelfs/modelfs/workers/caller"
)

var errClosed = fmt.Errorf("%w: the server is ending", ErrUnavailable)

// pool has the helpers: one for each user, few at a time. When there are as many as may
// be, the one that was used least lately makes room; if all are in use, who comes waits.
type pool struct {
	start func(caller.User) (*process, error)
	most  int

	background sync.WaitGroup

	mu     sync.Mutex
	all    map[string]*slot // guarded by mu, by user
	uses   uint64           // guarded by mu: counts, to say which slot was used least lately
	change chan struct{}    // guarded by mu: closed when a slot may have become free
	closed bool             // guarded by mu
}

// slot is one user's.
type slot struct {
	key   string
	ready chan struct{} // closed when process or err is there
	*process
	err error

	users int    // guarded by pool.mu: who asks, or waits to
	last  uint64 // guarded by pool.mu
}

func newPool(most int, start func(caller.User) (*process, error)) *pool {
	return &pool{start: start, most: most, all: map[string]*slot{}, change: make(chan struct{})}
}

// userKey is the same for the same user, groups included.
func userKey(u caller.User) string {
	b := make([]byte, 0, 8+4*len(u.Groups))
	b = binary.LittleEndian.AppendUint32(b, u.Uid)
	b = binary.LittleEndian.AppendUint32(b, u.Gid)
	for _, g := range u.Groups {
		b = binary.LittleEndian.AppendUint32(b, g)
	}
	return string(b)
}

// with calls f with a user's helper; once more with another if it has ended.
func (p *pool) with(ctx context.Context, user caller.User, f func(*process) error) error {
	var err error
	for range 2 {
		var s *slot
		if s, err = p.acquire(ctx, user); err != nil {
			return err
		}
		err = f(s.process)
		p.release(s, errors.Is(err, errEnded))
		if !errors.Is(err, errEnded) {
			return err
		}
	}
	return err
}

// acquire returns a user's slot with a helper, which no other takes away until release.
func (p *pool) acquire(ctx context.Context, user caller.User) (*slot, error) {
	key := userKey(user)
	for {
		s, change, err := p.take(key, user)
		if err != nil {
			return nil, err
		}
		if s == nil {
			select {
			case <-change:
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %d other users are served: %w", ErrLimit, p.most, ctx.Err())
			}
		}
		select {
		case <-s.ready:
			if s.err != nil {
				p.release(s, true)
				return nil, s.err
			}
			return s, nil
		case <-ctx.Done():
			p.release(s, false)
			return nil, ctx.Err()
		}
	}
}

// take returns a user's slot, which may not be ready, or nil and what to wait for.
func (p *pool) take(key string, user caller.User) (*slot, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	if s := p.all[key]; s != nil {
		s.users++
		return s, nil, nil
	}
	if len(p.all) >= p.most && !p.makeRoomLocked() {
		return nil, p.change, nil
	}
	s := &slot{key: key, ready: make(chan struct{}), users: 1}
	p.all[key] = s
	// Not for this caller alone: who comes next waits for the same start, and who goes
	// away meanwhile does not end it.
	p.background.Go(func() {
		s.process, s.err = p.start(user)
		close(s.ready)
		if s.err != nil {
			return
		}
		s.read()
		<-s.ended
		p.forget(s)
	})
	return s, nil, nil
}

// makeRoomLocked ends the helper that was used least lately of those that nobody uses.
func (p *pool) makeRoomLocked() bool {
	var oldest *slot
	for _, s := range p.all {
		if s.users == 0 && (oldest == nil || s.last < oldest.last) {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	delete(p.all, oldest.key)
	p.endLater(oldest)
	return true
}

// endLater ends a slot's helper as soon as it has started, without waiting.
func (p *pool) endLater(s *slot) {
	p.background.Go(func() {
		<-s.ready
		if s.err == nil {
			s.end()
		}
	})
}

// release lets go of a slot; one that is over is forgotten.
func (p *pool) release(s *slot, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.users--
	p.uses++
	s.last = p.uses
	if over && p.all[s.key] == s {
		delete(p.all, s.key)
	}
	p.changedLocked()
}

func (p *pool) forget(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all[s.key] == s {
		delete(p.all, s.key)
	}
	p.changedLocked()
}

func (p *pool) changedLocked() {
	close(p.change)
	p.change = make(chan struct{})
}

// close ends all helpers and waits for them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for key, s := range p.all {
		delete(p.all, key)
		p.endLater(s)
	}
	p.changedLocked()
	p.mu.Unlock()
	p.background.Wait()
}
