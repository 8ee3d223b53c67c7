// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestStorm: 50 processes open, map, close, read and unmap models while all that
// nobody uses is evicted again and again, by name, by the wholesale and by a full
// budget; each also keeps a mapping of its own all the time. There is no error and
// no wrong byte, and every page is faulted in anew before it is looked at.
// The control: the sum of another model, which each process expects once, is found
// to be wrong.
func TestStorm(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		clients, evictions := 50, 20_000
		switch {
		case testing.Short():
			clients, evictions = 10, 1000
		case m.name != normal.name:
			evictions = 6000
		}
		p := newPlace(t, m)
		files := make([]StormFile, 600)
		for i := range files {
			size := 64<<10 + i
			if i%10 == 0 {
				size = 2<<20 + 200_000 + i // some of it by a huge page
			}
			name := fmt.Sprintf("m%03d", i)
			content := weights.Single(uint64(i), size)
			p.write(name+"/model.safetensors", content)
			files[i] = StormFile{name, crc32.ChecksumIEEE(content)}
		}
		d := p.start("--memory", "128MiB")
		all := make([]*reader, clients)
		results := make([]StormResult, clients)
		errs := make([]error, clients)
		var running sync.WaitGroup
		for i := range all {
			all[i] = startReader(t, m.uid)
			must(all[i].attach(d.model(files[i%20].Name, "model.safetensors")))(t)
		}
		for i := range all {
			running.Go(func() {
				results[i], errs[i] = call[StormArgs, StormResult](all[i], "Storm", StormArgs{
					Models: d.model(), Files: files, Held: i % 20, Seed: uint64(i),
				})
			})
		}
		d.evictUntil(t, evictions, len(files))
		for _, r := range all {
			if _, err := call[int, None](r, "EndStorm", 0); err != nil {
				t.Error(err)
			}
		}
		running.Wait()

		var sum StormResult
		for i, r := range results {
			if errs[i] != nil {
				t.Errorf("client %d: %v", i, errs[i])
			}
			sum.Cycles += r.Cycles
			sum.Held += r.Held
			sum.Wrong += r.Wrong
			if r.Wrong > 0 {
				t.Errorf("client %d: %d wrong, the first: %s", i, r.Wrong, r.First)
			}
			if !r.Control {
				t.Errorf("client %d: the control: it does not see other bytes", i)
			}
		}
		s := d.status()
		t.Logf("%d cycles, %d looks at what was kept, %d evictions, %d loads", sum.Cycles, sum.Held, s.Counters.Evictions, s.Counters.Loads)
		if s.Counters.FallbackOpens+s.Counters.LoadFailures > 0 {
			t.Errorf("%d opens were served by the origin, %d loads failed", s.Counters.FallbackOpens, s.Counters.LoadFailures)
		}
		for i := range 20 {
			if n := s.of(t, files[i].Name).Loads; n != 1 {
				t.Errorf("%s was mapped all the time and loaded %d times", files[i].Name, n)
			}
		}
	})
}

// evictUntil evicts until so many segments went.
func (d *daemon) evictUntil(t *testing.T, evictions, models int) {
	t.Helper()
	limit := time.Now().Add(90 * time.Second)
	byName := startReader(t, d.mode.uid)
	go func() {
		for {
			name := fmt.Sprintf("m%03d", rand.IntN(models))
			err := byName.set(d.model(name), "evict", "1")
			if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINTR) || err == nil {
				continue
			}
			return // it ended, or the mount did
		}
	}()
	for {
		n := d.status().Counters.Evictions
		if n >= int64(evictions) {
			break
		}
		if time.Now().After(limit) {
			t.Errorf("%d evictions in %v, want %d", n, 90*time.Second, evictions)
			break
		}
		for range 20 {
			if err := d.set(d.model(), "evict", "idle"); err != nil && !errors.Is(err, unix.EINTR) {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	byName.kill()
}

// StormFile is one model of a storm and the sum of its file.
type StormFile struct {
	Name string
	Sum  uint32
}

// StormArgs tell a client what to do.
type StormArgs struct {
	Models string // the folder
	Files  []StormFile
	Held   int // which one to keep
	Seed   uint64
}

// StormResult is what a client saw.
type StormResult struct {
	Cycles, Held, Wrong int
	First               string // what was wrong first
	Control             bool
}

// Storm runs until EndStorm.
func (r *reading) Storm(a StormArgs, out *StormResult) (err error) {
	debug.SetPanicOnFault(true)
	defer fault(&err)
	random := rand.New(rand.NewPCG(a.Seed, 1))
	wrong := func(what string, args ...any) {
		if out.Wrong++; out.Wrong == 1 {
			out.First = fmt.Sprintf(what, args...)
		}
	}
	_, held, err := stormMap(a.Models, a.Files[a.Held], true)
	if err != nil {
		return coded(err)
	}
	out.Control = stormSum(held) != a.Files[a.Held+1].Sum
	for ; !r.stormOver.Load(); out.Cycles++ {
		f := a.Files[random.IntN(len(a.Files))]
		closed := random.IntN(2) == 0
		fd, m, err := stormMap(a.Models, f, closed)
		if err != nil {
			wrong("%s: %v", f.Name, err)
			continue
		}
		if sum := stormSum(m); sum != f.Sum {
			wrong("%s: sum %08x, want %08x; the first byte is %x", f.Name, sum, f.Sum, m[0])
		}
		_ = unix.Munmap(m)
		if !closed {
			_ = unix.Close(fd)
		}
		if out.Cycles%4 == 0 {
			out.Held++
			if stormSum(held) != a.Files[a.Held].Sum {
				wrong("%s, which is kept: other bytes", a.Files[a.Held].Name)
			}
		}
	}
	return nil
}

// EndStorm ends it after the current cycle.
func (r *reading) EndStorm(int, *None) error {
	r.stormOver.Store(true)
	return nil
}

// stormSum looks at every page anew.
func stormSum(m []byte) uint32 {
	if err := unix.Madvise(m, unix.MADV_DONTNEED); err != nil {
		panic(err)
	}
	return crc32.ChecksumIEEE(m)
}

func stormMap(models string, f StormFile, closed bool) (int, []byte, error) {
	var fd int
	var err error
	for {
		fd, err = unix.Open(models+"/"+f.Name+"/model.safetensors", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EINTR) {
			return 0, nil, fmt.Errorf("open: %w", err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, nil, fmt.Errorf("fstat: %w", err)
	}
	m, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, nil, fmt.Errorf("mmap: %w", err)
	}
	if closed {
		_ = unix.Close(fd)
	}
	return fd, m, nil
}
