// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package arena

import (
	"bytes"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

const chunk = 1 << 20

// newArena is an arena of memfds, of which nothing is left when the test ends.
func newArena(t testing.TB, chunk int64) *Arena {
	t.Helper()
	a := New(Memfds(), chunk)
	t.Cleanup(func() {
		a.Close()
		if s := a.Stats(); s != (Stats{}) {
			t.Errorf("left behind: %+v", s)
		}
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if name, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.Contains(name, "modelfs-arena") {
				t.Errorf("a file is still open: %s", name)
			}
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(maps, []byte("modelfs-arena")) {
			t.Error("a file is still mapped")
		}
	})
	return a
}

func take(t testing.TB, a *Arena, bytes int64) *Region {
	t.Helper()
	r, err := a.Take(bytes)
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes != bytes || int64(len(r.Data())) != bytes || r.File.Key == 0 {
		t.Fatalf("a region of %d bytes has %d in file %d, mapped are %d", bytes, r.Bytes, r.File.Key, len(r.Data()))
	}
	return r
}

func TestAlignment(t *testing.T) {
	a := newArena(t, 8<<20)
	for _, c := range []struct{ bytes, align int64 }{
		{1, 64}, {65, 64}, {4095, 64}, {4096, 4096}, {10_000, 4096}, {2<<20 - 1, 4096}, {2 << 20, 2 << 20},
	} {
		odd := take(t, a, 1) // so that the next free byte is not at a page
		r := take(t, a, c.bytes)
		if r.Offset%c.align != 0 {
			t.Errorf("%d bytes lie at %d, not at a multiple of %d", c.bytes, r.Offset, c.align)
		}
		r.Free()
		_ = odd // kept until all are through
		t.Cleanup(odd.Free)
	}
}

// A handler that has the file reads what is written here, and the other way round.
func TestRegionIsTheFile(t *testing.T) {
	a := newArena(t, chunk)
	take(t, a, 100).Free()
	first, r := take(t, a, 100), take(t, a, 5)
	defer first.Free()
	defer r.Free()
	copy(r.Data(), "hello")
	got := make([]byte, 5)
	if _, err := r.File.FD.ReadAt(got, r.Offset); err != nil || string(got) != "hello" {
		t.Fatalf("the file has %q: %v", got, err)
	}
	if _, err := r.File.FD.WriteAt([]byte("world"), r.Offset); err != nil || string(r.Data()) != "world" {
		t.Fatalf("the mapping has %q: %v", r.Data(), err)
	}
}

// Whoever has the descriptor can neither take memory away nor unseal it.
func TestMemfdIsSealed(t *testing.T) {
	a := newArena(t, chunk)
	r := take(t, a, 1)
	defer r.Free()
	for _, size := range []int64{0, chunk - 1, chunk + 1} {
		if err := r.File.FD.Truncate(size); !errors.Is(err, os.ErrPermission) {
			t.Errorf("truncate to %d: %v, want EPERM", size, err)
		}
	}
	flags, err := unix.FcntlInt(r.File.FD.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x: %v", flags, err)
	}
}

func TestZeroLength(t *testing.T) {
	a := newArena(t, chunk)
	one, other := take(t, a, 0), take(t, a, 0)
	if one.Offset == other.Offset {
		t.Error("two regions of nothing are one")
	}
	one.Free()
	other.Free()
	if s := a.Stats(); s.Taken != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNonsense(t *testing.T) {
	a := newArena(t, chunk)
	for _, bytes := range []int64{-1, math.MinInt64, math.MaxInt64, math.MaxInt64 - 1} {
		if r, err := a.Take(bytes); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%d bytes: %v, %v", bytes, r, err)
		}
	}
	// More than any address space: whatever the kernel answers.
	if r, err := a.Take(mostBytes); err == nil {
		t.Errorf("%d bytes: %v", int64(mostBytes), r)
	}
	if s := a.Stats(); s != (Stats{}) {
		t.Errorf("a file was made: %+v", s)
	}
}

// Region by region until the file is full, one more file, and all free again.
func TestExhaustion(t *testing.T) {
	a := newArena(t, chunk)
	a.Limit = 2 * chunk
	var regions []*Region
	for range 2 * chunk / 4096 {
		regions = append(regions, take(t, a, 4096))
	}
	if s := a.Stats(); s != (Stats{Files: 2, Bytes: 2 * chunk, Taken: 2 * chunk, Regions: 512}) {
		t.Errorf("%+v", s)
	}
	if r, err := a.Take(1); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("beyond the limit: %v, %v", r, err)
	}
	regions[7].Free()
	regions[7].Free()
	(*Region)(nil).Free()
	if r := take(t, a, 4096); r.Offset != regions[7].Offset {
		t.Errorf("what was freed lies at %d, what was taken at %d", regions[7].Offset, r.Offset)
	} else {
		r.Free()
	}
	for _, r := range regions {
		r.Free()
	}
	whole(t, a)
}

// The last file is as large as the limit allows, and a region that is larger fails.
func TestLimit(t *testing.T) {
	a := newArena(t, chunk)
	a.Limit = chunk + 10_000
	first, second := take(t, a, chunk), take(t, a, 8192)
	if s := a.Stats(); s.Files != 2 || s.Bytes != chunk+8192 {
		t.Errorf("%+v", s)
	}
	for _, bytes := range []int64{0, 1, 5000, 3 * chunk, 1 << 40} {
		if r, err := a.Take(bytes); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%d bytes: %v, %v", bytes, r, err)
		}
	}
	first.Free()
	second.Free()
	small := New(Memfds(), chunk)
	small.Limit = 4096
	defer small.Close()
	take(t, small, 100).Free()
}

// whole fails unless every file of an arena is one free span.
func whole(t testing.TB, a *Arena) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.files {
		if !slices.Equal(f.free, []span{{0, f.Size}}) || f.taken != 0 || f.regions != 0 || f.largest < f.Size {
			t.Errorf("file %d of %d bytes: free are %v, %d in %d regions taken, largest %d", f.Key, f.Size, f.free, f.taken, f.regions, f.largest)
		}
	}
}

func TestMakerFails(t *testing.T) {
	broken := errors.New("no more files")
	maker, fail := Memfds(), true
	a := New(func(size int64) (*os.File, error) {
		if fail {
			return nil, broken
		}
		return maker(size)
	}, chunk)
	defer a.Close()
	if _, err := a.Take(1); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	fail = false
	take(t, a, 1).Free()
}

// gone records what an arena says has gone.
func gone(a *Arena) func() []uint64 {
	var mu sync.Mutex
	var keys []uint64
	a.Gone = func(key uint64) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, key)
	}
	return func() []uint64 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(keys)
	}
}

func TestFreeFilesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArena(t, chunk)
		went := gone(a)
		first, second, large := take(t, a, chunk), take(t, a, 1), take(t, a, 5*chunk/2)
		if s := a.Stats(); s.Files != 3 || s.Bytes != 2*chunk+4<<20 {
			t.Errorf("%+v", s)
		}
		first.Free()
		second.Free()
		time.Sleep(idleFor / 2)
		large.Free()
		time.Sleep(idleFor/2 - time.Nanosecond)
		synctest.Wait()
		if keys := went(); len(keys) != 0 {
			t.Errorf("gone before the time: %v", keys)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if keys := went(); !slices.Equal(keys, []uint64{second.File.Key}) {
			t.Errorf("gone are %v, want %d", keys, second.File.Key)
		}
		time.Sleep(idleFor / 2)
		synctest.Wait()
		if keys := went(); !slices.Equal(keys, []uint64{second.File.Key, large.File.Key}) {
			t.Errorf("gone are %v, want %d and %d", keys, second.File.Key, large.File.Key)
		}
		if s := a.Stats(); s.Files != 1 || s.Bytes != chunk {
			t.Errorf("left are %+v", s)
		}
		if a.armed {
			t.Error("a timer runs for nothing")
		}
	})
}

// A file that is used again in between begins anew.
func TestUsedFileStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArena(t, chunk)
		went := gone(a)
		first := take(t, a, chunk)
		for range 5 {
			second := take(t, a, 100)
			second.Free()
			time.Sleep(idleFor * 2 / 3)
		}
		synctest.Wait()
		if keys := went(); len(keys) != 0 {
			t.Errorf("gone: %v", keys)
		}
		first.Free()
	})
}

// A first file that was made for a large region goes as well.
func TestLargeFirstFileGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArena(t, chunk)
		take(t, a, 10*chunk).Free()
		time.Sleep(idleFor)
		synctest.Wait()
		if s := a.Stats(); s != (Stats{}) {
			t.Errorf("%+v", s)
		}
	})
}

// What somebody still has when the arena is closed is there until he frees it.
func TestCloseWithRegions(t *testing.T) {
	a := newArena(t, chunk)
	went := gone(a)
	r, s := take(t, a, chunk), take(t, a, 10)
	s.Free()
	a.Close()
	a.Close()
	copy(r.Data(), "still here")
	if keys := went(); !slices.Equal(keys, []uint64{s.File.Key}) {
		t.Errorf("gone are %v, want %d", keys, s.File.Key)
	}
	if _, err := a.Take(1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("take of a closed arena: %v", err)
	}
	r.Free()
	if keys := went(); !slices.Equal(keys, []uint64{s.File.Key, r.File.Key}) {
		t.Errorf("gone are %v", keys)
	}
}

// After Retire nothing is taken of the files that there were; what somebody has of them is
// there until he frees it.
func TestRetire(t *testing.T) {
	a := newArena(t, chunk)
	went := gone(a)
	r, s := take(t, a, chunk), take(t, a, 10)
	s.Free()
	a.Retire()
	copy(r.Data(), "still here")
	if keys := went(); !slices.Equal(keys, []uint64{s.File.Key}) {
		t.Errorf("gone are %v, want %d", keys, s.File.Key)
	}
	next := take(t, a, 10)
	if next.File.Key == r.File.Key || next.File.Key == s.File.Key {
		t.Errorf("a region lies in file %d", next.File.Key)
	}
	r.Free()
	if keys := went(); !slices.Equal(keys, []uint64{s.File.Key, r.File.Key}) {
		t.Errorf("gone are %v", keys)
	}
	next.Free()
	if s := a.Stats(); s.Files != 1 || s.Bytes != chunk {
		t.Errorf("left are %+v", s)
	}
}

// A hundred callers write into their regions, and find there what they wrote.
func TestConcurrent(t *testing.T) {
	a := newArena(t, chunk)
	var all sync.WaitGroup
	for caller := range 100 {
		all.Go(func() {
			mark := bytes.Repeat([]byte{byte(caller + 1)}, 40_000)
			for i := range 50 {
				r, err := a.Take(int64((caller*7919 + i*104_729) % len(mark)))
				if err != nil {
					t.Error(err)
					return
				}
				copy(r.Data(), mark)
				if i%5 == 0 {
					_ = a.Stats()
				}
				if !bytes.Equal(r.Data(), mark[:r.Bytes]) {
					t.Errorf("caller %d: somebody else wrote into the region", caller)
				}
				r.Free()
			}
		})
	}
	all.Wait()
	whole(t, a)
}

// Callers who find no room together make one file between them.
func TestOneFileForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maker, made := Memfds(), 0
		a := New(func(size int64) (*os.File, error) {
			made++
			time.Sleep(time.Second)
			return maker(size)
		}, chunk)
		defer a.Close()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { take(t, a, 100).Free() })
		}
		all.Wait()
		if made != 1 {
			t.Errorf("%d files", made)
		}
	})
}

func BenchmarkTakeFree(b *testing.B) {
	a := newArena(b, 64<<20)
	b.ReportAllocs()
	for b.Loop() {
		r, err := a.Take(1024)
		if err != nil {
			b.Fatal(err)
		}
		r.Free()
	}
}

// With the regions of two hundred calls taken around it, with holes.
func BenchmarkTakeFreeAmongOthers(b *testing.B) {
	a := newArena(b, 64<<20)
	var others []*Region
	for i := range 400 {
		others = append(others, take(b, a, int64(64+i*37%4000)))
	}
	for i := 0; i < len(others); i += 3 {
		others[i].Free()
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := a.Take(2048)
		if err != nil {
			b.Fatal(err)
		}
		r.Free()
	}
	for _, r := range others {
		r.Free()
	}
}

func BenchmarkTakeFreeParallel(b *testing.B) {
	a := newArena(b, 64<<20)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := a.Take(1024)
			if err != nil {
				b.Error(err)
				return
			}
			r.Free()
		}
	})
}
