// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// bench is a registry for tests. Keys are "model/part"; a value is its key with
// the number of its load, so that a value tells generations apart.
type bench struct {
	*Registry[string, string]
	t *testing.T

	evict, inUse func(k, v string) error // first of all in the functions of the Config
	change       func(k string)

	mu     sync.Mutex
	loads  int
	mapped map[string]bool // values in use without a reference
	told   []string        // by OnChange
	wakes  int
}

var errOrigin = errors.New("origin is broken")

// bubble runs a test in a synctest bubble with a registry, whose invariants are
// checked at the end.
func bubble(t *testing.T, cfg Config[string, string], test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, cfg)
		test(t, b)
		synctest.Wait()
		check(t, b.Registry)
		b.Close()
	})
}

func newBench(t *testing.T, cfg Config[string, string]) *bench {
	b := &bench{t: t, mapped: make(map[string]bool)}
	if cfg.Group == nil {
		cfg.Group = func(k string) string { return strings.Split(k, "/")[0] }
	}
	cfg.Evict = func(k, v string) error {
		if b.evict != nil {
			if err := b.evict(k, v); err != nil {
				return err
			}
		}
		return b.busy(v)
	}
	cfg.InUse = func(k, v string) bool {
		if b.inUse != nil {
			if err := b.inUse(k, v); err != nil {
				return true
			}
		}
		return b.busy(v) != nil
	}
	cfg.OnChange = func(k string) {
		b.lock(func() { b.told = append(b.told, k) })
		if b.change != nil {
			b.change(k)
		}
	}
	cfg.Wake = func() { b.lock(func() { b.wakes++ }) }
	b.Registry = New(cfg)
	return b
}

func (b *bench) lock(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *bench) busy(v string) (err error) {
	b.lock(func() {
		if b.mapped[v] {
			err = fmt.Errorf("%s is mapped: %w", v, ErrBusy)
		}
	})
	return err
}

// use says that a value is used unseen from now on, or no more.
func (b *bench) use(v string, now bool) {
	b.lock(func() { b.mapped[v] = now })
}

func (b *bench) load(key string) Load[string] {
	return func(context.Context) (v string, err error) {
		b.lock(func() {
			b.loads++
			v = fmt.Sprint(key, "#", b.loads)
		})
		return v, nil
	}
}

func broken(context.Context) (string, error) { return "", errOrigin }

// get acquires an item, which must work.
func (b *bench) get(key string, size int64) *Lease[string] {
	b.t.Helper()
	l, err := b.Acquire(context.Background(), key, size, b.load(key))
	if err != nil {
		b.t.Fatalf("acquire %s: %v", key, err)
	}
	return l
}

// put makes items of one byte resident, used in this order.
func (b *bench) put(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.get(k, 1).Release()
	}
}

// fails acquires an item, which must not work.
func (b *bench) fails(key string, size int64) error {
	b.t.Helper()
	l, err := b.Acquire(context.Background(), key, size, b.load(key))
	if err == nil {
		b.t.Fatalf("acquire %s: %s, want an error", key, l.Value())
	}
	return err
}

// slow is a load that ends when it is told how, or with its context.
func (b *bench) slow(key string) (Load[string], chan<- error) {
	end := make(chan error)
	return func(ctx context.Context) (string, error) {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case err := <-end:
			if err != nil {
				return "", err
			}
			return b.load(key)(ctx)
		}
	}, end
}

// caller is an Acquire in a goroutine of its own.
type caller struct {
	cancel context.CancelFunc
	done   chan struct{}
	lease  *Lease[string] // after done
	err    error
}

// begin returns when the caller can do no more by itself.
func (b *bench) begin(key string, size int64, load Load[string]) *caller {
	ctx, cancel := context.WithCancel(context.Background())
	c := &caller{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer cancel()
		c.lease, c.err = b.Acquire(ctx, key, size, load)
	}()
	synctest.Wait()
	return c
}

// over says whether a caller has returned, once nothing can move by itself.
func (c *caller) over() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// value is what a caller got, which must have returned without an error.
func (b *bench) value(c *caller) string {
	b.t.Helper()
	if !c.over() || c.err != nil {
		b.t.Fatalf("acquire has returned: %v, with the error %v", c.over(), c.err)
	}
	return c.lease.Value()
}

// failed is the error of a caller, which must have returned one.
func (b *bench) failed(c *caller, want error) {
	b.t.Helper()
	if !c.over() || !errors.Is(c.err, want) {
		b.t.Errorf("acquire has returned: %v, with the error %v, want %v", c.over(), c.err, want)
	}
}

// waits says that callers have not returned.
func (b *bench) waits(calls ...*caller) {
	b.t.Helper()
	for i, c := range calls {
		if c.over() {
			b.t.Errorf("call %d has returned: %v, %v", i, c.lease, c.err)
		}
	}
}

// wantGone compares the victims and their reasons, the first one first.
func (b *bench) wantGone(want ...string) {
	b.t.Helper()
	var got []string
	for _, v := range b.Victims() {
		got = append(got, fmt.Sprint(v.Key, " ", v.Why))
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("freed: %q, want %q", got, want)
	}
}

// have returns the keys that can be found, sorted.
func (b *bench) have() string {
	var keys []string
	b.Registry.mu.Lock()
	for k, it := range b.items {
		if it.state == resident {
			keys = append(keys, k)
		}
	}
	b.Registry.mu.Unlock()
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

func (b *bench) want(keys string) {
	b.t.Helper()
	if got := b.have(); got != keys {
		b.t.Errorf("resident: %q, want %q", got, keys)
	}
}

// wantStats compares the counters, and the bytes of now.
func (b *bench) wantStats(want string) {
	b.t.Helper()
	s := b.Stats()
	got := fmt.Sprintf("hits %d misses %d loads %d failures %d evictions %d resident %d lingering %d reserved %d",
		s.Hits, s.Misses, s.Loads, s.LoadFailures, s.EvictionsTotal(), s.Resident, s.Lingering, s.Reserved)
	if got != want {
		b.t.Errorf("stats: %s\n       want %s", got, want)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error %v, want %v", got, want)
	}
}

// check compares everything that is counted with what there is.
func check[K comparable, V any](t testing.TB, r *Registry[K, V]) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make(map[*item[K, V]]bool)
	for k, it := range r.items {
		if it.key != k || it.doomed || it.state == absent {
			t.Errorf("item %v found as %v, doomed %v, state %v", it.key, k, it.doomed, it.state)
		}
		if (it.flight != nil) != (it.state == loading) || (it.state != loading) != it.group.members.has(it) {
			t.Errorf("item %v: state %v, flight %v, member %v", k, it.state, it.flight, it.group.members.has(it))
		}
		known[it] = true
	}
	var residentBytes, evictingBytes, lingering, reserved, written int64
	evictions := 0
	for name, g := range r.groups {
		sum := group[K, V]{name: name}
		for i, it := range g.members.items {
			if it.at[inMembers] != i+1 || it.group != g {
				t.Errorf("%v is at %d of %s, says %d", it.key, i, name, it.at[inMembers]-1)
			}
			known[it] = true
			sum.refs += it.refs
			sum.uses += it.uses
			residentBytes += it.size
			if it.state == evicting {
				sum.leaving++
				evictions++
				evictingBytes += it.size
				if it.refs > 0 {
					t.Errorf("%v is evicting with %d references", it.key, it.refs)
				}
			}
			if it.last {
				sum.lasts++
			}
			if it.doomed {
				sum.lingering += it.size
			} else {
				sum.resident += it.size
			}
		}
		lingering += sum.lingering
		reserved += g.reserved
		written += g.written
		if _, in := r.writing[g]; in != (g.written > 0) || g.written < 0 {
			t.Errorf("%s has %d bytes of Reserve, known as such %v", name, g.written, in)
		}
		if g.refs != sum.refs || g.uses != sum.uses || g.leaving != sum.leaving || g.lasts != sum.lasts ||
			g.resident != sum.resident || g.lingering != sum.lingering {
			t.Errorf("group %+v, want %+v", g, sum)
		}
		if _, in := r.occupied[g]; in != (g.places > 0) || g.places < len(g.members.items) ||
			g.places > len(g.members.items)+g.loading {
			t.Errorf("%s has %d places, %d members, %d loading, occupied %v", name, g.places, len(g.members.items), g.loading, in)
		}
	}
	if r.resident != residentBytes || r.evicting != evictingBytes || r.evictions != evictions ||
		r.stats.Lingering != lingering || r.reserved != reserved || r.written != written {
		t.Errorf("written %d, want %d", r.written, written)
		t.Errorf("resident %d evicting %d (%d) lingering %d reserved %d, want %d %d (%d) %d %d", r.resident, r.evicting,
			r.evictions, r.stats.Lingering, r.reserved, residentBytes, evictingBytes, evictions, lingering, reserved)
	}
	if r.cfg.Budget > 0 && r.resident+r.reserved+r.written > r.cfg.Budget {
		t.Errorf("resident %d and reserved %d are over the budget %d", r.resident, r.reserved, r.cfg.Budget)
	}
	places := 0
	for g := range r.occupied {
		if !g.apart {
			places++
		}
	}
	if r.places != places {
		t.Errorf("%d groups with places, %d are counted", places, r.places)
	}
	if r.cfg.MaxGroups > 0 && places > r.cfg.MaxGroups {
		t.Errorf("%d groups, the maximum is %d", places, r.cfg.MaxGroups)
	}
	for it := range known {
		if r.victims.belongs(it) && !r.victims.has(it) || r.expiring.belongs(it) && !r.expiring.has(it) {
			t.Errorf("%v is not in the queues where it belongs", it.key)
		}
		if it.idle() && it.doomed && !r.unseen.has(it) {
			t.Errorf("%v is doomed and idle, and no Retry will look at it", it.key)
		}
		if it.quiet && !r.unseen.has(it) {
			t.Errorf("%v is off the clock, and no Retry will look at it", it.key)
		}
		if r.mayExpire(it) && (r.sweepAt == 0 || r.sweepAt > it.deadline+int64(slack)) {
			t.Errorf("%v is due at %d, and Sweep comes at %d", it.key, it.deadline, r.sweepAt)
		}
	}
	for _, q := range []*queue[K, V]{&r.victims, &r.expiring} {
		checkQueue(t, q)
	}
	for i, it := range r.unseen.items {
		if it.at[inUnseen] != i+1 || !known[it] {
			t.Errorf("unseen has %v at %d, says %d, known %v", it.key, i, it.at[inUnseen]-1, known[it])
		}
	}
}

func checkQueue[K comparable, V any](t testing.TB, q *queue[K, V]) {
	t.Helper()
	for i, e := range q.entries {
		if e.it.at[q.slot] != i+1 {
			t.Errorf("queue %d has %v at %d, says %d", q.slot, e.it.key, i, e.it.at[q.slot]-1)
		}
		if parent := q.entries[(i-1)/2]; i > 0 && e.before(parent.rank) {
			t.Errorf("queue %d: %v is before its parent %v", q.slot, e.it.key, parent.it.key)
		}
		if q.belongs(e.it) && q.rank(e.it).before(e.rank) {
			t.Errorf("queue %d: %v has moved forward unseen", q.slot, e.it.key)
		}
	}
}
