// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"sync"
	"time"
)

// Policy says who goes first when room is needed.
type Policy int

// The policies.
const (
	LRU    Policy = iota // least recently used first
	LFU                  // least often used first; ties: least recently used
	Manual               // nobody: only Evict and a TTL free memory
)

// Config is what a Registry is made of. Group and Evict are required.
type Config[K comparable, V any] struct {
	Budget    int64         // bytes; 0: no limit
	MaxGroups int           // groups that may have resident items; 0: no limit
	Policy    Policy        //
	TTL       time.Duration // for groups without their own; 0: until the room is needed
	// Group names what pins, TTLs and the maximum apply to.
	Group func(K) string
	// Evict frees a value, or answers ErrBusy when somebody still uses it in a
	// way the registry cannot see; it stays then. It runs without locks, never
	// while references are held, and no Acquire of the item returns meanwhile.
	Evict func(K, V) error
	// InUse asks what Evict would find, without freeing. Nil: never.
	InUse func(K, V) bool
	// OnChange is told after an item became resident, failed or was freed.
	OnChange func(K)
	// Wake is told when Sweep should be called earlier than it last said.
	Wake func()
	// Last marks items that are chosen as victims after all others.
	Last func(K) bool
}

// Registry holds items by key.
type Registry[K comparable, V any] struct {
	cfg Config[K, V]

	ctx     context.Context // ends at Close
	stop    context.CancelFunc
	running sync.WaitGroup // loads

	mu       sync.Mutex
	closed   bool
	items    map[K]*item[K, V]
	groups   map[string]*group
	resident int64         // charged by resident items, doomed ones too
	reserved int64         // reserved by items that load
	evicting int64         // the part of resident that is being freed right now
	moved    chan struct{} // closed and replaced when an eviction ended
	stats    Stats
	victims  []Victim[K]
}

type state int

const (
	loading state = iota
	resident
	evicting
)

type item[K comparable, V any] struct {
	key   K
	group *group
	size  int64
	state state
	value V

	refs     int
	uses     int64
	lastUsed time.Time
	// mapped is set when the last reference went and cleared when InUse said no:
	// somebody may use the value unseen.
	mapped bool
	doomed bool

	flight *flight[V]    // while loading
	gone   chan struct{} // while evicting: closed when the outcome is known
}

type group struct {
	name                      string
	items, loading            int
	pinned                    bool
	ttl                       time.Duration
	loads, hits, misses, gone int64
	resident, lingering       int64
	reserved                  int64
	refs                      int
	lastUsed, loadedAt        time.Time
	lastError                 error
}

// New returns an empty registry.
func New[K comparable, V any](cfg Config[K, V]) *Registry[K, V] {
	ctx, stop := context.WithCancel(context.Background())
	return &Registry[K, V]{
		cfg: cfg, ctx: ctx, stop: stop,
		items: make(map[K]*item[K, V]), groups: make(map[string]*group), moved: make(chan struct{}),
		stats: Stats{Evictions: make(map[Reason]int64)},
	}
}

// Close cancels the loads and waits for them. Values stay as they are: their
// memory is the caller's to give back.
func (r *Registry[K, V]) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
}

func (r *Registry[K, V]) groupLocked(name string) *group {
	g := r.groups[name]
	if g == nil {
		g = &group{name: name, ttl: r.cfg.TTL}
		r.groups[name] = g
	}
	return g
}

// useLocked counts a use now.
func (r *Registry[K, V]) useLocked(it *item[K, V]) {
	now := time.Now()
	it.lastUsed = now
	it.uses++
	it.group.lastUsed = now
}

func (r *Registry[K, V]) changed(k K) {
	if r.cfg.OnChange != nil {
		r.cfg.OnChange(k)
	}
}

func (r *Registry[K, V]) wake() {
	if r.cfg.Wake != nil {
		r.cfg.Wake()
	}
}

// movedLocked tells those who wait for room that an eviction ended.
func (r *Registry[K, V]) movedLocked() {
	close(r.moved)
	r.moved = make(chan struct{})
}
