// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestManyReadersOneLoad: processes that open one model at once read its bytes
// from the origin once, and all have the same physical pages, mapped by huge ones.
// The controls: a process that reads the file into its own memory has others, and
// in the mode without huge pages none is mapped by them.
func TestManyReadersOneLoad(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const size = 16<<20 + 4321
		readers := 200
		if testing.Short() {
			readers = 20
		}
		content := weights.Single(1, size)
		p := newPlace(t, m)
		file := p.slow().Add("m/model.safetensors", content)
		d := p.start()
		file.Hold()

		all := make([]*reader, readers)
		for i := range all {
			all[i] = startReader(t, m.uid)
		}
		maps := make([]int, readers)
		errs := make([]error, readers)
		var running sync.WaitGroup
		for i, r := range all {
			running.Go(func() { maps[i], errs[i] = r.attach(d.model("m/model.safetensors")) })
		}
		eventually(t, patience, "all of them wait in open", func() bool {
			return d.metrics()[`modelfs_fuse_requests_total{op="open"}`] >= float64(readers) && file.Waiting() > 0
		})
		compactMemory()
		file.Release()
		running.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for i, r := range all {
			running.Go(func() {
				sum, err := r.sum(maps[i])
				if err == nil && sum != digest(content) {
					err = errors.New("other bytes")
				}
				errs[i] = err
			})
		}
		running.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}

		if n := file.BytesRead(); n < size || n > size+1<<16 {
			t.Errorf("%d bytes were read from the origin for a file of %d", n, size)
		}
		s := d.status()
		if c, of := s.Counters, s.of(t, "m"); c.Loads != 1 || of.Loads != 1 || c.Hits+c.Misses != int64(readers) {
			t.Errorf("%d loads, %d hits and %d misses of %d opens", c.Loads, c.Hits, c.Misses, readers)
		}
		if got := must(d.get(d.model("m"), "refs"))(t); got != fmt.Sprint(readers) {
			t.Errorf("refs is %s, want %d", got, readers)
		}
		d.checkShared(t, all, maps, size)
		own := startReader(t, m.uid)
		copied := frames(t, own, must(own.hold(d.model("m/model.safetensors")))(t), 1<<20)
		if slices.Equal(copied, frames(t, all[0], maps[0], 1<<20)) {
			t.Error("the control: a copy has the same physical pages")
		}
	})
}

func (d *daemon) checkShared(t *testing.T, all []*reader, maps []int, size int64) {
	t.Helper()
	want := frames(t, all[0], maps[0], 64<<10)
	for i, r := range all {
		if !slices.Equal(frames(t, r, maps[i], 64<<10), want) {
			t.Fatalf("pid %d maps other physical pages than pid %d", r.pid(), all[0].pid())
		}
		a := areaOf(t, r, maps[i])
		if !strings.HasPrefix(a.path, d.mount) {
			t.Fatalf("pid %d maps %s, not a file of the mount", r.pid(), a.path)
		}
		if private := a.bytes("Private_Clean") + a.bytes("Private_Dirty"); private > 0 || a.bytes("Rss") < size {
			t.Fatalf("pid %d: %d of %d bytes are there, %d of them private", r.pid(), a.bytes("Rss"), size, private)
		}
		switch huge := a.hugeBytes(); {
		case d.mode.passes() && d.mode.hugepages == yes && huge < size/2: // the kernel gives small pages where its memory is in pieces
			t.Fatalf("pid %d: %d of %d bytes are mapped by huge pages", r.pid(), huge, size)
		case d.mode.hugepages == no && d.mode.passes() && huge > 0:
			t.Fatalf("pid %d: %d bytes are mapped by huge pages", r.pid(), huge)
		}
	}
}

// TestReadsPassTheDaemon: once a model is resident, no read and no page fault of a
// process that has not seen it yet reaches the daemon.
// The control: the modes without passthrough, where they do.
func TestReadsPassTheDaemon(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const size = 5<<20 + 99
		content := weights.Single(1, size)
		p := newPlace(t, m)
		p.write("m/model.safetensors", content)
		d := p.start("--load", "m")
		eventually(t, patience, "it is loaded", func() bool { return d.resident("m") })
		path := d.model("m/model.safetensors")
		reads := d.readsDuring(func() {
			r := startReader(t, m.uid)
			id := must(r.attach(path))(t)
			if got := must(r.sum(id))(t); got != digest(content) {
				t.Error("other bytes by mapping")
			}
			if got := must(r.read(path))(t); digest(got) != digest(content) {
				t.Error("other bytes by read")
			}
			fd := must(r.open(path, unix.O_RDONLY|unix.O_DIRECT))(t)
			if got := must(r.pread(fd, 4096, 1000))(t); digest(got) != digest(content[4096:5096]) {
				t.Error("other bytes by direct read")
			}
		})
		switch {
		case m.passes() && reads != 0:
			t.Errorf("%d READs reached the daemon", reads)
		case !m.passes() && reads == 0:
			t.Error("the control: without passthrough no READ was counted")
		}
		if s := d.status().of(t, "m"); s.Loads != 1 {
			t.Errorf("%d loads, want 1", s.Loads)
		}
	})
}

// TestMappedAndClosed: who has mapped a model and closed it is still a user: it
// counts, the model is not evicted by command, by a full budget or by age, and its
// bytes stay.
// The control: after the munmap the same eviction works.
func TestMappedAndClosed(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const size = 3 << 20
		content := weights.Single(1, size)
		p := newPlace(t, m)
		p.write("used/model.safetensors", content)
		for i := range 6 {
			p.write(fmt.Sprintf("other%d/model.safetensors", i), weights.Single(uint64(10+i), size))
		}
		d := p.start("--memory", fmt.Sprint(3*size+1<<20), "--ttl", "1s")
		r := startReader(t, m.uid)
		id := must(r.attach(d.model("used/model.safetensors")))(t)
		if got := must(d.get(d.model("used"), "refs"))(t); got != "1" {
			t.Errorf("refs is %s, want 1", got)
		}
		if err := d.set(d.model("used"), "evict", "1"); !errors.Is(err, unix.EBUSY) {
			t.Errorf("the attribute evict: %v, want EBUSY", err)
		}
		stdout, stderr, code := d.run("evict", "used")
		if code != 1 || !strings.Contains(stderr, fmt.Sprint("pid ", r.pid())) {
			t.Errorf("evict exits %d and says\n%s%s, want 1 and pid %d", code, stdout, stderr, r.pid())
		}
		if _, _, code := d.run("evict", "--idle"); code != 0 {
			t.Errorf("evict --idle exits %d: it passes over what is in use", code)
		}
		if _, _, code := d.run("evict", "--all"); code != 1 {
			t.Errorf("evict --all exits %d, want 1", code)
		}
		for range 3 {
			for i := range 6 {
				must(d.read(d.model(fmt.Sprintf("other%d/model.safetensors", i))))(t)
			}
			if got := must(r.sum(id))(t); got != digest(content) {
				t.Fatal("the mapping shows other bytes")
			}
		}
		if n := d.status().Counters.Evictions; n < 10 {
			t.Errorf("only %d evictions: the budget was not full", n)
		}
		time.Sleep(2100 * time.Millisecond) // the TTL and a second
		if s := d.status().of(t, "used"); s.State != "resident" || s.Loads != 1 || s.Refs != 1 {
			t.Errorf("the model is %s with %d references after %d loads", s.State, s.Refs, s.Loads)
		}
		if got := must(r.sum(id))(t); got != digest(content) {
			t.Fatal("the mapping shows other bytes")
		}
		if err := r.unmap(id); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := d.run("evict", "used"); code != 0 || !strings.Contains(stdout, "freed") {
			t.Errorf("the control: evict exits %d after the munmap: %s%s", code, stdout, stderr)
		}
		eventually(t, patience, "nothing is resident", func() bool { return d.status().Memory.Resident == 0 })
	})
}
