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
	// Group names what pins, TTLs and the maximum apply to. A key's group never
	// changes, and what is known of a group is kept for good, see Apart.
	Group func(K) string
	// Apart marks groups that MaxGroups does not count, and that are forgotten with
	// their last item: those whose names never end. It must not block.
	Apart func(group string) bool
	// Evict frees a value, or answers ErrBusy when somebody still uses it in a
	// way the registry cannot see; it stays then. It runs without locks, never
	// while references are held, and no Acquire of the item returns meanwhile.
	Evict func(K, V) error
	// InUse asks what Evict would find, without freeing. It may be asked about a
	// value that was freed a moment ago. Nil: never in use.
	InUse func(K, V) bool
	// OnChange is told after an item became resident, failed or was freed.
	OnChange func(K)
	// OnFail is told why a load failed of which nobody else is told: nobody waited for
	// it, and it was not cancelled. It must not block.
	OnFail func(K, error)
	// Wake is told when Sweep should be called earlier than it last said. It
	// must not block.
	Wake func()
	// Last marks items that are chosen as victims after all others. It is asked
	// once per load.
	Last func(K) bool
}

// Registry holds items by key. It is safe for concurrent use.
type Registry[K comparable, V any] struct {
	cfg Config[K, V]

	born    time.Time
	ctx     context.Context // ends at Close: for loads, and for who waits for one
	stop    context.CancelFunc
	running sync.WaitGroup // loads
	turn    chan struct{}  // full while one reservation frees others

	mu       sync.Mutex
	closed   bool
	items    map[K]*item[K, V]       // those that can be found: doomed ones cannot
	groups   map[string]*group[K, V] // also those that have nothing
	occupied map[*group[K, V]]struct{}
	places   int                       // of occupied, those that MaxGroups counts
	writing  map[*group[K, V]]struct{} // those with bytes of Reserve
	victims  queue[K, V]               // who may go for room
	expiring queue[K, V]               // who goes by the clock
	// unseen may be in use without a reference: their last reference went, or
	// Config.Evict refused, and nobody has asked Config.InUse since.
	unseen set[K, V]

	resident  int64         // bytes of resident and evicting items, doomed ones too
	reserved  int64         // bytes reserved by items that load
	written   int64         // bytes of Reserve, which are no items
	evicting  int64         // the part of resident that is being freed right now
	evictions int           // how many items that is
	moved     chan struct{} // closed when an eviction ended; nil while nobody waits

	ticks    int64 // counts uses: the order of uses at the same time
	searches int64 // counts reservations that looked for victims
	retries  int64 // counts calls of Retry
	sweepAt  int64 // when Sweep comes next, as item.deadline; 0: not by the clock
	sooner   bool  // it should come earlier: told at the unlock
	stats    Stats
	freed    []Victim[K] // the last ones, newest last
}

// New returns an empty registry.
func New[K comparable, V any](cfg Config[K, V]) *Registry[K, V] {
	ctx, stop := context.WithCancel(context.Background())
	r := &Registry[K, V]{
		cfg: cfg, born: time.Now(), ctx: ctx, stop: stop, turn: make(chan struct{}, 1),
		items: make(map[K]*item[K, V]), groups: make(map[string]*group[K, V]),
		occupied: make(map[*group[K, V]]struct{}), writing: make(map[*group[K, V]]struct{}), unseen: set[K, V]{slot: inUnseen},
		stats: Stats{Evictions: make(map[Reason]int64)},
	}
	r.victims = queue[K, V]{slot: inVictims, belongs: r.mayGo, rank: r.victimRank}
	r.expiring = queue[K, V]{slot: inExpiring, belongs: r.mayExpire, rank: expiryRank[K, V]}
	return r
}

// Close cancels the loads and waits for them; who waits for one gets ErrClosed at
// once. Values stay as they are: their memory is the caller's to give back. Leases may
// be released, and items evicted, after it.
func (r *Registry[K, V]) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
}

func (r *Registry[K, V]) failed(k K, err error) {
	if r.cfg.OnFail != nil {
		r.cfg.OnFail(k, err)
	}
}

func (r *Registry[K, V]) changed(k K) {
	if r.cfg.OnChange != nil {
		r.cfg.OnChange(k)
	}
}
