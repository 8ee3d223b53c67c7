// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// small is the size of a model where several fill a budget.
const small = 1 << 20

// writeModels writes models of one weight file of size small.
func (p *place) writeModels(names ...string) {
	p.t.Helper()
	for _, name := range names {
		p.write(name+"/model.safetensors", weights.Single(uint64(name[0]), small))
	}
}

// use opens models one after the other and closes them.
func (d *daemon) use(names ...string) {
	d.t.Helper()
	for _, name := range names {
		fd := must(d.open(d.model(name, "model.safetensors"), unix.O_RDONLY))(d.t)
		if err := d.close(fd); err != nil {
			d.t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // a close arrives late
	}
}

// residents are the names of the models that are resident.
func (d *daemon) residents() string {
	d.t.Helper()
	var names []string
	for _, m := range d.status().Models {
		if m.State == "resident" {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (d *daemon) wantResidents(when, want string) {
	d.t.Helper()
	if got := d.residents(); got != want {
		d.t.Errorf("%s: resident are %s, want %s", when, got, want)
	}
}

// TestKilledReader: a reader that is killed is no user any more within a second,
// and the model can be evicted.
// The control: before, it is one, and eviction is refused.
func TestKilledReader(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		late := lateness(t)
		for _, how := range []string{"mapped and closed", "open"} {
			r := startReader(t, m.uid)
			if how == "open" {
				must(r.open(d.model("a/model.safetensors"), unix.O_RDONLY))(t)
			} else {
				must(r.sum(must(r.attach(d.model("a/model.safetensors")))(t)))(t)
			}
			if n := d.status().of(t, "a").Refs; n != 1 {
				t.Errorf("%s: %d references, want 1", how, n)
			}
			if err := d.set(d.model("a"), "evict", "1"); !errors.Is(err, unix.EBUSY) {
				t.Errorf("%s: evict of what is in use: %v, want EBUSY", how, err)
			}
			r.kill()
			killed, lateBefore := time.Now(), late()
			if err := d.set(d.model("a"), "evict", "1"); err != nil {
				t.Errorf("%s: evict after the kill: %v", how, err)
			}
			eventually(t, patience, how+": the reference is gone", func() bool {
				s := d.status()
				return s.of(t, "a").Refs == 0 && s.Memory.Resident == 0
			})
			if took := time.Since(killed); took > time.Second+late()-lateBefore {
				t.Errorf("%s: the reference was gone after %v, want a second", how, took)
			}
		}
	})
}

// TestTTL: what nobody has used for the TTL is freed within the TTL and a second,
// what is used or pinned is not; a model may have a TTL of its own.
// The control: most of the TTL long it stays, and a model that is used again
// outlives one that is not.
func TestTTL(t *testing.T) {
	modes(t, func(t *testing.T, m mode) { // two of them: users are found in two ways
		const ttl = 1500 * time.Millisecond
		p := newPlace(t, m)
		p.writeModels("again", "mapped", "once", "own", "pinned")
		d := p.start("--ttl", ttl.String(), "--pin", "pinned")
		if err := d.set(d.model("own"), "ttl", "3600"); err != nil {
			t.Fatal(err)
		}
		id := must(d.attach(d.model("mapped/model.safetensors")))(t)
		d.use("again", "own", "pinned", "once")
		used, late := time.Now(), lateness(t)
		time.Sleep(ttl * 2 / 3)
		d.wantResidents("before the TTL", "again mapped once own pinned")
		d.use("again")
		eventually(t, patience, "a model is freed", func() bool { return !strings.Contains(d.residents(), "once") })
		if took := time.Since(used); took < ttl-100*time.Millisecond || took > ttl+time.Second+late() {
			t.Errorf("it was freed %v after its last use, the TTL is %v", took, ttl)
		}
		d.wantResidents("after the TTL", "again mapped own pinned")
		time.Sleep(ttl + time.Second - time.Since(used.Add(ttl*2/3)) + 50*time.Millisecond)
		d.wantResidents("after another TTL", "mapped own pinned")
		if err := d.unmap(id); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "what was mapped is freed", func() bool { return d.residents() == "own pinned" })
		if s := d.status().of(t, "own"); s.TTLSeconds != 3600 || d.status().of(t, "once").TTLSeconds != ttl.Seconds() {
			t.Errorf("ttl_seconds is %v, want 3600", s.TTLSeconds)
		}
	}, normal, unprivileged)
}

// TestVictims: who goes when room is needed. The same uses are under every policy,
// so that each is the control of the others.
func TestVictims(t *testing.T) {
	for _, c := range []struct {
		policy, after string
	}{
		{"lru", "b c d"},    // a was used the longest ago
		{"lfu", "a c d"},    // b was used the least often
		{"manual", "a b c"}, // nobody goes: d is served by its origin
	} {
		t.Run(c.policy, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				p := newPlace(t, m)
				p.writeModels("a", "b", "c", "d")
				d := p.start("--policy", c.policy, "--memory", fmt.Sprint(3*small+small/2))
				d.use("a", "a", "a", "b", "c", "c")
				d.wantResidents("before", "a b c")
				must(d.read(d.model("d/model.safetensors")))(t)
				d.wantResidents("after", c.after)
				if n := d.status().Counters.FallbackOpens; (n == 1) != (c.policy == "manual") {
					t.Errorf("%d opens were served by the origin", n)
				}
			})
		})
	}
}

// TestPinned: a pinned model never goes, neither for room nor by command; unpinned
// it does. pin does not load.
// The control: without the pin it would be the victim, see TestVictims.
func TestPinned(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a", "b", "c", "d")
		d := p.start("--memory", fmt.Sprint(3*small+small/2), "--pin", "b")
		if _, stderr, code := d.run("pin", "a"); code != 0 {
			t.Fatal(stderr)
		}
		if s := d.status(); s.Counters.Loads != 0 || !s.of(t, "a").Pinned || !s.of(t, "b").Pinned || s.of(t, "c").Pinned {
			t.Errorf("pin made %d loads, or the pins are wrong", s.Counters.Loads)
		}
		d.use("a", "b", "c", "d")
		d.wantResidents("with a and b pinned", "a b d")
		d.use("c", "d", "c", "d")
		d.wantResidents("with a and b pinned", "a b d")
		if _, stderr, code := d.run("evict", "a"); code != 1 || !strings.Contains(stderr, "pinned") {
			t.Errorf("evict of what is pinned exits %d: %s", code, stderr)
		}
		d.run("evict", "--all")
		d.wantResidents("after evict --all", "a b")
		for _, name := range []string{"a", "b"} {
			if _, stderr, code := d.run("unpin", name); code != 0 {
				t.Error(stderr)
			}
		}
		d.use("c", "d")
		d.wantResidents("unpinned", "b c d")
	})
}

// TestMaxModels: one model too many makes another go, whole, however much room
// there is; where all are in use, the origin serves or the open fails.
// The control: as many as are allowed stay.
func TestMaxModels(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a", "b", "c")
		d := p.start("--max-models", "2", "--over-budget", "fail")
		d.use("a", "b")
		must(d.read(d.at("tensors/a/weight")))(t)
		d.wantResidents("two", "a b")
		d.use("a", "c") // b is the one that was used the longest ago
		d.wantResidents("the third", "a c")
		must(d.attach(d.model("a/model.safetensors")))(t)
		must(d.attach(d.model("c/model.safetensors")))(t)
		if _, err := d.open(d.model("b/model.safetensors"), unix.O_RDONLY); !errors.Is(err, unix.ENOMEM) {
			t.Errorf("a third model while two are in use: %v, want ENOMEM", err)
		}
		eventually(t, patience, "the log says why", func() bool {
			return strings.Contains(d.log.String(), "maximum of 2 models")
		})
	})
}
