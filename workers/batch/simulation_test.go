// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// twin is the policy with one slice that is searched for everything.
type twin struct {
	cfg    Config
	calls  []*node[int] // in the order of arrival
	piled  uint64
	turns  map[uint64][]string // callers of a level, whose turn it is first
	inKind map[string][]string // of a level and kind
	passed map[uint64]int
}

func ringName(n *node[int]) string { return fmt.Sprint(n.Priority, n.Kind) }

func (w *twin) add(n *node[int]) {
	w.calls = append(w.calls, n)
	if !slices.Contains(w.turns[n.Priority], n.Caller) {
		w.turns[n.Priority] = append(w.turns[n.Priority], n.Caller)
	}
	if ring := ringName(n); n.Kind != "" && !slices.Contains(w.inKind[ring], n.Caller) {
		w.inKind[ring] = append(w.inKind[ring], n.Caller)
	}
}

// remove takes a call out; took: its caller goes to the end.
func (w *twin) remove(n *node[int], took bool) {
	w.calls = slices.DeleteFunc(w.calls, func(o *node[int]) bool { return o == n })
	turn := func(turns []string, same func(o *node[int]) bool) []string {
		more := slices.ContainsFunc(w.calls, func(o *node[int]) bool { return o.Priority == n.Priority && o.Caller == n.Caller && same(o) })
		if took || !more {
			turns = slices.DeleteFunc(turns, func(c string) bool { return c == n.Caller })
			if more {
				turns = append(turns, n.Caller)
			}
		}
		return turns
	}
	w.turns[n.Priority] = turn(w.turns[n.Priority], func(*node[int]) bool { return true })
	if n.Kind != "" {
		w.inKind[ringName(n)] = turn(w.inKind[ringName(n)], func(o *node[int]) bool { return o.Kind == n.Kind })
	}
	if len(w.turns[n.Priority]) == 0 {
		delete(w.passed, n.Priority)
	}
}

func (w *twin) rows(kind string) (rows int, oldest *node[int]) {
	for _, n := range w.calls {
		if n.Kind == kind {
			rows += n.Rows
			if oldest == nil {
				oldest = n
			}
		}
	}
	return rows, oldest
}

func (w *twin) ready(n *node[int], now time.Time, most int) bool {
	if n.Kind == "" || w.cfg.MaxDelay == 0 {
		return true
	}
	rows, oldest := w.rows(n.Kind)
	return rows >= most || oldest.number <= w.piled || now.Sub(oldest.came) >= w.cfg.MaxDelay || slices.Contains(w.cfg.Preferred, rows)
}

// oldest is the first call of a caller, in a level, of a kind; "*": any.
func (w *twin) oldest(level uint64, caller, kind string) *node[int] {
	i := slices.IndexFunc(w.calls, func(n *node[int]) bool {
		return n.Priority == level && n.Caller == caller && (kind == "*" || n.Kind == kind)
	})
	if i < 0 {
		return nil
	}
	return w.calls[i]
}

func (w *twin) lead(now time.Time, most int) *node[int] {
	first, chosen := uint64(0), uint64(0)
	for level := uint64(1); level <= w.cfg.Levels; level++ {
		switch {
		case len(w.turns[level]) == 0:
		case first == 0:
			first, chosen = level, level
		case w.passed[level] >= patience && w.passed[level] > w.passed[chosen]:
			chosen = level
		}
	}
	if first == 0 {
		return nil
	}
	n := w.oldest(chosen, w.turns[chosen][0], "*")
	if w.ready(n, now, most) {
		return n
	}
	for _, n := range w.calls { // the kind whose oldest came first
		if w.ready(n, now, most) {
			if n.Kind == "" {
				return n
			}
			for level := uint64(1); ; level++ {
				if turns := w.inKind[fmt.Sprint(level, n.Kind)]; len(turns) > 0 {
					return w.oldest(level, turns[0], n.Kind)
				}
			}
		}
	}
	return nil
}

// next is the batch, by the numbers of its calls.
func (w *twin) next(now time.Time, most int) []uint64 {
	lead := w.lead(now, most)
	if lead == nil {
		return nil
	}
	for level := uint64(1); level <= w.cfg.Levels; level++ {
		if len(w.turns[level]) > 0 {
			w.passed[level]++
		}
	}
	w.passed[lead.Priority] = 0
	taken, rows := []uint64{lead.number}, lead.Rows
	w.remove(lead, true)
	if lead.Kind == "" {
		return taken
	}
	for level := uint64(1); level <= w.cfg.Levels; level++ {
		ring := fmt.Sprint(level, lead.Kind)
		for i := 0; i < len(w.inKind[ring]); {
			n := w.oldest(level, w.inKind[ring][i], lead.Kind)
			if rows+n.Rows > most {
				i++
				continue
			}
			rows += n.Rows
			taken = append(taken, n.number)
			w.remove(n, true)
		}
	}
	return taken
}

// TestPolicySimulation has the policy and its twin choose among the same calls.
func TestPolicySimulation(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 60 {
		cfg := Config{MaxBatch: 2 + random.IntN(12), MaxDelay: time.Duration(random.IntN(3)) * 50, Levels: 1 + random.Uint64N(3), Preferred: []int{random.IntN(8)}}
		p := newPolicy[int](cfg)
		w := &twin{cfg: cfg, turns: map[uint64][]string{}, inKind: map[string][]string{}, passed: map[uint64]int{}}
		now := time.Unix(0, 0)
		var waiting []*node[int]
		gone := func(numbers ...uint64) {
			waiting = slices.DeleteFunc(waiting, func(n *node[int]) bool { return slices.Contains(numbers, n.number) })
		}
		for step := range 600 {
			now = now.Add(time.Duration(random.IntN(10)))
			switch what := random.IntN(100); {
			case what < 70 && len(waiting) < 60 || step < 20:
				n := &node[int]{Item: Item[int]{
					Context: context.Background(), Kind: []string{"", "x", "y", "z"}[random.IntN(4)], Rows: 1 + random.IntN(min(3, cfg.MaxBatch)),
					Caller: string(rune('a' + random.IntN(4))), Priority: 1 + random.Uint64N(cfg.Levels), Timeout: time.Duration(random.IntN(2)) * 400,
				}}
				p.add(n, now)
				w.add(n)
				waiting = append(waiting, n)
			case what < 75 && len(waiting) > 0: // cancelled
				n := waiting[random.IntN(len(waiting))]
				p.remove(n)
				w.remove(n, false)
				gone(n.number)
			case what < 80:
				p.busy()
				w.piled = p.number
			default:
				most := p.most(random.IntN(cfg.MaxBatch + 1))
				calls, dropped := p.next(now, most, false, nil)
				for _, d := range dropped {
					if d.err != ErrExpired || now.Sub(d.came) < d.node.Timeout {
						t.Fatalf("round %d, step %d: call %d dropped after %v: %v", round, step, d.number, now.Sub(d.came), d.err)
					}
					w.remove(d.node, false)
					gone(d.number)
				}
				if i := slices.IndexFunc(waiting, func(n *node[int]) bool { return !n.expires.IsZero() && !now.Before(n.expires) }); i >= 0 {
					t.Fatalf("round %d, step %d: call %d has expired and waits", round, step, waiting[i].number)
				}
				var got []uint64
				rows := 0
				for _, n := range calls {
					got = append(got, n.number)
					rows += n.Rows
				}
				want := w.next(now, most)
				if !slices.Equal(got, want) {
					t.Fatalf("round %d, step %d, %+v, at most %d: the batch is %v, the twin says %v", round, step, cfg, most, got, want)
				}
				if rows > most && len(calls) > 1 {
					t.Fatalf("round %d, step %d: %d rows, at most %d", round, step, rows, most)
				}
				gone(got...)
			}
			if p.depth != len(waiting) {
				t.Fatalf("round %d, step %d: depth %d, %d wait", round, step, p.depth, len(waiting))
			}
		}
		for _, n := range waiting {
			p.remove(n)
		}
		checkEmpty(t, p)
	}
}

// checkEmpty fails unless nothing is left in a policy.
func checkEmpty(t *testing.T, p *policy[int]) {
	t.Helper()
	if p.depth+len(p.levels)+len(p.callers)+len(p.kinds)+len(p.buckets)+len(p.expires) > 0 || p.alone.first != nil {
		t.Errorf("left behind: %d calls, %d levels, %d callers, %d kinds, %d buckets, %d that expire", p.depth, len(p.levels), len(p.callers), len(p.kinds), len(p.buckets), len(p.expires))
	}
}

// TestQueueSimulation has callers and workers at a queue at the same time: each call is
// handed out once, dropped once or refused, no batch is larger than it may be or of two
// kinds, and calls of a caller, priority and kind go in their order.
func TestQueueSimulation(t *testing.T) {
	for _, cfg := range []Config{
		{MaxBatch: 8, MaxQueue: 40},
		{MaxBatch: 8, MaxDelay: 200 * time.Microsecond, Preferred: []int{4}, Levels: 3},
		{MaxQueue: 20, Timeout: 300 * time.Microsecond},
	} {
		t.Run(strings.ReplaceAll(fmt.Sprintf("%+v", cfg), " ", ","), func(t *testing.T) { simulate(t, cfg) })
	}
}

// visitor is a call of the simulation.
type visitor struct {
	caller, number int
	kind           string
	priority       uint64
	fate           atomic.Int32 // how often it was handed out, dropped or refused
}

func simulate(t *testing.T, cfg Config) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	q := New[*visitor](cfg)
	var callers, workers sync.WaitGroup
	var ends [20][]context.CancelFunc // of calls that nobody cancels before
	var all [20][]*visitor
	var handed, dropped, refused atomic.Int64
	for caller := range all {
		random := rand.New(rand.NewPCG(seed, uint64(caller)))
		for number := range 150 {
			all[caller] = append(all[caller], &visitor{
				caller: caller, number: number, kind: []string{"", "x", "y"}[random.IntN(3)], priority: random.Uint64N(4),
			})
		}
		callers.Go(func() {
			for _, v := range all[caller] {
				ctx, cancel := context.WithCancel(context.Background())
				if random.IntN(4) == 0 {
					ctx, cancel = context.WithTimeout(context.Background(), time.Duration(random.IntN(300))*time.Microsecond)
				}
				err := q.Push(Item[*visitor]{
					Call: v, Context: ctx, Kind: v.kind, Rows: 1 + random.IntN(3), Caller: fmt.Sprint(caller), Priority: v.priority,
					Dropped: func(err error) {
						if !errors.Is(err, ErrExpired) && !errors.Is(err, ErrClosed) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("dropped: %v", err)
						}
						v.fate.Add(1)
						dropped.Add(1)
					},
				})
				if err != nil {
					if !errors.Is(err, ErrFull) && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("push: %v", err)
					}
					v.fate.Add(1)
					refused.Add(1)
				}
				if random.IntN(10) == 0 {
					cancel()
				}
				ends[caller] = append(ends[caller], cancel)
			}
		})
	}
	last := map[string]int{} // of one worker: order cannot be seen with more
	for worker := range 3 {
		workers.Go(func() {
			for {
				b, err := q.Next(context.Background(), 0)
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("next: %v", err)
					}
					return
				}
				seen(t, cfg, b, &handed)
				if worker == 0 {
					inOrder(t, b, last)
				}
			}
		})
	}
	callers.Wait()
	if err := q.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	workers.Wait()
	q.Close()
	for _, cancel := range slices.Concat(ends[:]...) {
		cancel()
	}
	for _, calls := range all {
		for _, v := range calls {
			if n := v.fate.Load(); n != 1 {
				t.Errorf("call %d of caller %d: handed out, dropped or refused %d times", v.number, v.caller, n)
			}
		}
	}
	t.Logf("%d handed out, %d dropped, %d refused", handed.Load(), dropped.Load(), refused.Load())
	if handed.Load() == 0 {
		t.Error("nothing was handed out")
	}
}

// seen checks one batch.
func seen(t *testing.T, cfg Config, b Batch[*visitor], handed *atomic.Int64) {
	rows := 0
	for _, taken := range b.Items {
		rows += taken.Rows
		taken.Call.fate.Add(1)
		if taken.Call.kind != b.Items[0].Call.kind || taken.Call.kind == "" && len(b.Items) > 1 {
			t.Errorf("kinds %q and %q in one batch of %d", taken.Call.kind, b.Items[0].Call.kind, len(b.Items))
		}
	}
	handed.Add(int64(len(b.Items)))
	if rows != b.Rows || len(b.Items) == 0 || rows > max(cfg.MaxBatch, b.Items[0].Rows) || cfg.MaxBatch <= 1 && len(b.Items) > 1 {
		t.Errorf("%d calls with %d rows in a batch of %d, at most %d", len(b.Items), rows, b.Rows, cfg.MaxBatch)
	}
}

// inOrder checks that what one worker gets of a caller, priority and kind is in order.
func inOrder(t *testing.T, b Batch[*visitor], last map[string]int) {
	for _, taken := range b.Items {
		v := taken.Call
		key := fmt.Sprint(v.caller, v.priority, v.kind)
		if before, ok := last[key]; ok && before > v.number {
			t.Errorf("caller %d, priority %d, kind %q: call %d came after %d", v.caller, v.priority, v.kind, v.number, before)
		}
		last[key] = v.number
	}
}
