// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// cachedPages is how many pages of a file are in the page cache.
func cachedPages(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &st, 0)
	if err != nil {
		t.Skipf("no cachestat (Linux 6.5): %v", err)
	}
	return st.Cache
}

// onDisk is a file on a disk, nothing of it cached.
func onDisk(t *testing.T, n int64) *os.File {
	t.Helper()
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		t.Skipf("%s is no disk (TMPDIR): %v", dir, err)
	}
	f := originFile(t, dir, n)
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n := cachedPages(t, f); n != 0 {
		t.Skipf("%d pages stay in the page cache", n)
	}
	return f
}

// TestFillLeavesNoSecondCopy: neither way of reading leaves the origin in the
// page cache, and both leave what was there before.
func TestFillLeavesNoSecondCopy(t *testing.T) {
	const n = 8<<20 + 12_345
	for _, c := range []struct {
		name       string
		off        int64
		buffered   bool
		batch      int64 // batchSize if 0
		from, upto int64 // cached before
	}{
		{name: "direct"},
		{name: "direct unaligned", off: 100},
		{name: "buffered", buffered: true},
		{name: "buffered, in small pieces that cause readahead", buffered: true, batch: 64 << 10},
		{name: "buffered unaligned", off: 5001, buffered: true},
		{name: "buffered, its header cached", buffered: true, upto: 64 << 10},
		{name: "buffered, others have its middle", off: 7, buffered: true, from: 1 << 20, upto: 6 << 20},
		{name: "buffered, all cached", buffered: true, upto: n},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openBackend(t, "memfd")
			origin := onDisk(t, n)
			precache(t, origin, c.from, c.upto)
			before := cachedPages(t, origin)
			b, err := s.Create("copy", n-c.off)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Discard()
			f := filling{off: c.off, n: n - c.off, inFlight: inFlight, read: readSize, batch: cmp.Or(c.batch, batchSize), batches: batches, buffered: c.buffered}
			if err := b.fill(t.Context(), origin, f, nil); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), pattern(n)[c.off:]) {
				t.Errorf("byte %d differs", differ(b.Bytes(), pattern(n)[c.off:]))
			}
			if after := cachedPages(t, origin); after != before {
				t.Errorf("%d pages are cached, %d were before", after, before)
			}
			// Control: a plain read leaves all of it.
			if _, err := io.Copy(io.Discard, io.NewSectionReader(origin, 0, n)); err != nil {
				t.Fatal(err)
			}
			if after := cachedPages(t, origin); after < n/pageSize {
				t.Errorf("cachestat sees %d pages after a plain read of %d", after, n/pageSize)
			}
		})
	}
}

// TestOriginLeavesNoSecondCopy: nor do the reads of an Origin, as windows that are
// not aligned.
func TestOriginLeavesNoSecondCopy(t *testing.T) {
	const n = 3<<20 + 12_345
	f := onDisk(t, n)
	precache(t, f, 1<<20, 2<<20)
	before := cachedPages(t, f)
	o := OpenOrigin(f)
	defer o.Close()
	got := make([]byte, n)
	for at := 0; at < n; at += 300_001 {
		if _, err := o.ReadAt(got[at:min(at+300_001, n)], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, pattern(n)) {
		t.Errorf("byte %d differs", differ(got, pattern(n)))
	}
	const edges = 2 * 64 << 10 / pageSize // of the range that others have: absent tells no finer
	if after := cachedPages(t, f); after < before || after > before+edges {
		t.Errorf("%d pages are cached, %d were before", after, before)
	}
}

// precache brings a range into the page cache, as somebody else would, and
// nothing else.
func precache(t *testing.T, f *os.File, from, upto int64) {
	t.Helper()
	if upto == 0 {
		return
	}
	g, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_ = unix.Fadvise(int(g.Fd()), 0, 0, unix.FADV_RANDOM)
	if _, err := g.ReadAt(make([]byte, upto-from), from); err != nil {
		t.Fatal(err)
	}
	if got := cachedPages(t, f); got != uint64(roundUp(upto-from)/pageSize) {
		t.Fatalf("%d pages are cached, wanted %d", got, (upto-from)/pageSize)
	}
}

// TestNothingBehindTheEnd: what a direct read brings in behind the last byte is
// seen by nobody who maps the last page.
func TestNothingBehindTheEnd(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			s := openBackend(t, backend)
			origin := originFile(t, t.TempDir(), 3*pageSize)
			b, err := s.Create("tail", pageSize+10)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Fill(t.Context(), origin, 0, pageSize+10, 0, nil); err != nil {
				t.Fatal(err)
			}
			g, err := b.Seal()
			if err != nil {
				t.Fatal(err)
			}
			m := mapSegment(t, g)
			if i := differ(m[pageSize+10:2*pageSize], make([]byte, pageSize)); i >= 0 {
				t.Errorf("byte %d behind the end is %#x", i, m[pageSize+10+i])
			}
			if err := unix.Munmap(m); err != nil {
				t.Fatal(err)
			}
			remove(t, g)
		})
	}
}

// mapSegment maps whole pages of a segment, its descriptor closed.
func mapSegment(t testing.TB, g *Segment) []byte {
	t.Helper()
	fd, err := g.OpenBacking()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	m, err := unix.Mmap(fd, 0, int(roundUp(g.Size())), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What cannot be read either way says why.
func TestFillUnreadableOrigin(t *testing.T) {
	s := openBackend(t, "memfd")
	origin, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer origin.Close()
	b, err := s.Create("folder", 100)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Discard()
	if err := b.Fill(t.Context(), origin, 0, 100, 0, nil); !errors.Is(err, unix.EISDIR) {
		t.Errorf("reading a folder: %v", err)
	}
}

// TestFillFallsBack: what the filesystem refuses to read directly, it reads
// through the page cache.
func TestFillFallsBack(t *testing.T) {
	tempDir(t)
	origin := onDisk(t, 100_000)
	r := openOrigin(origin, false)
	defer r.close()
	if r.directFD < 0 {
		t.Skip("the disk has no direct reads")
	}
	p := make([]byte, 50_000)[1:] // a disk reads to no such address
	if err := r.read(p, int64(len(p)), 0); err != nil {
		t.Fatal(err)
	}
	if i := differ(p, pattern(50_000)); i >= 0 {
		t.Errorf("byte %d differs", i)
	}
	if r.direct() {
		t.Skip("this disk does")
	}
	if n := cachedPages(t, origin); n != 0 {
		t.Errorf("%d pages are cached", n)
	}
}

func TestFillFromTmpfs(t *testing.T) {
	s := openTmpfs(t, Config{Size: 16 << 20})
	f := originFile(t, s.Dir(), 1<<20+3)
	b, err := s.Create("from tmpfs", 1<<20+3)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Fill(t.Context(), f, 0, 1<<20+3, 0, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), pattern(1<<20+3)) {
		t.Error("other bytes")
	}
	b.Discard()
	_ = f.Close()
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
}

// TestEveryDescriptorRefused runs the whole life of a segment with room for ever
// more descriptors, until it succeeds: every open has failed once, and nothing
// was left behind.
func TestEveryDescriptorRefused(t *testing.T) {
	dir := tempDir(t)
	needMounts(t)
	origin := originFile(t, t.TempDir(), 100_000)
	stages := make(map[string]int)
	for allowed := 0; ; allowed++ {
		before := census()
		end := limitDescriptors(t, allowed)
		stage, err := segmentLife(filepath.Join(dir, "segments"), origin)
		end()
		if left := before.missing(census()); len(left) > 0 {
			t.Fatalf("%d more descriptors allowed, failed to %s: left %q", allowed, stage, left)
		}
		if _, err := os.Lstat(filepath.Join(dir, "segments")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%d more descriptors allowed, failed to %s: folder left: %v", allowed, stage, err)
		}
		stages[stage]++
		if err == nil {
			break
		}
		if allowed > 30 {
			t.Fatalf("still fails to %s: %v", stage, err)
		}
	}
	if stages["open"] < 3 || stages["create"] < 1 || stages["seal"] < 1 {
		t.Errorf("failures by stage: %v", stages)
	}
}

// limitDescriptors lets this process open so many more, until the result is
// called.
func limitDescriptors(t *testing.T, more int) func() {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	var held []*os.File
	limit := uint64(0)
	for range more + 1 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, f)
		limit = max(limit, uint64(f.Fd()))
	}
	for _, f := range held {
		_ = f.Close()
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
}

// segmentLife says where it failed. A fixed number of users holds descriptors
// meanwhile, so that the later stages have their turn to fail.
func segmentLife(dir string, origin *os.File) (stage string, err error) {
	s, err := Open(Config{Dir: dir, Size: 1 << 20})
	if err != nil {
		return "open", err
	}
	defer s.Close()
	var held []int
	defer func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}()
	for range 4 { // more than Open needed at a time
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "hold", err
		}
		held = append(held, fd)
	}
	b, err := s.Create("x", 100_000)
	if err != nil {
		return "create", err
	}
	if err := b.Fill(context.Background(), origin, 0, 100_000, 0, nil); err != nil {
		b.Discard()
		return "fill", err
	}
	g, err := b.Seal()
	if err != nil {
		return "seal", err
	}
	return "remove", g.Remove()
}
