// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkFill compares a Fill with the same direct reads into a buffer that is
// thrown away: what the disk can do. The two take turns; "ratio" is the median
// of what Fill reaches of it in so many rounds as -benchtime 5x says. -short takes
// a smaller file.
func BenchmarkFill(b *testing.B) {
	size := int64(2 << 30)
	if testing.Short() {
		size = 256 << 20
	}
	s := openTmpfs(b, Config{Size: size + size/2})
	origin := diskFile(b, size)
	for _, c := range []struct {
		name string
		off  int64
	}{{"aligned", 0}, {"unaligned", 1000}} {
		b.Run(c.name, func(b *testing.B) {
			f := filling{off: c.off, n: size - c.off, inFlight: inFlight, read: readSize, batch: batchSize, batches: batches}
			compareFill(b, s, origin, f)
		})
	}
}

// BenchmarkFillTuning is how these four numbers were chosen: in every
// round each choice has its turn, beside reads of 1 MiB into nothing.
func BenchmarkFillTuning(b *testing.B) {
	if os.Getenv("MODELFS_BENCH_TUNING") == "" {
		b.Skip("takes 20 s a round: MODELFS_BENCH_TUNING=1 -benchtime 5x")
	}
	const size = 1 << 30
	s := openTmpfs(b, Config{Size: size + size/2})
	origin := diskFile(b, size)
	nothing := newNullRead(b, s, origin, filling{n: size})
	var nulls []float64
	fills := make(map[filling][]float64)
	for b.Loop() {
		nulls = append(nulls, nothing.time(b, s))
		for _, f := range []filling{
			{inFlight: 8, read: 256 << 10, batch: 2 << 20, batches: 4},
			{inFlight: 8, read: 512 << 10, batch: 2 << 20, batches: 3},
			{inFlight: 8, read: 512 << 10, batch: 2 << 20, batches: 4},
			{inFlight: 8, read: 512 << 10, batch: 2 << 20, batches: 6},
			{inFlight: 8, read: 1 << 20, batch: 2 << 20, batches: 6},
			{inFlight: 8, read: 2 << 20, batch: 2 << 20, batches: 8},
			{inFlight: 8, read: 512 << 10, batch: 1 << 20, batches: 8},
			{inFlight: 4, read: 512 << 10, batch: 2 << 20, batches: 3},
			{inFlight: 16, read: 512 << 10, batch: 2 << 20, batches: 8},
		} {
			f.n = size
			fills[f] = append(fills[f], timeFill(b, s, origin, f))
		}
		nulls = append(nulls, nothing.time(b, s))
	}
	for f, seconds := range fills {
		b.ReportMetric(median(nulls)/median(seconds), fmt.Sprintf("ratio-%02dx%dKiB-of-%dx%dKiB", f.inFlight, f.read>>10, f.batches, f.batch>>10))
	}
	b.ReportMetric(size/median(nulls)/1e9, "null-GB/s")
}

func compareFill(b *testing.B, s *Store, origin *os.File, f filling) {
	nothing := newNullRead(b, s, origin, f)
	var ratios, nulls, fills []float64
	for b.Loop() {
		null := nothing.time(b, s)
		fill := timeFill(b, s, origin, f)
		ratios, nulls, fills = append(ratios, null/fill), append(nulls, null), append(fills, fill)
	}
	b.ReportMetric(0, "ns/op") // the loop's own time says nothing
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(float64(f.n)/median(nulls)/1e9, "null-GB/s")
	b.ReportMetric(float64(f.n)/median(fills)/1e9, "fill-GB/s")
}

// timeFill is how many seconds a segment takes from Create to Seal.
func timeFill(b *testing.B, s *Store, origin *os.File, f filling) float64 {
	warm(b, s, f.n)
	start := time.Now()
	w, err := s.Create("bench", f.n)
	if err != nil {
		b.Fatal(err)
	}
	if err := w.fill(b.Context(), origin, f, nil); err != nil {
		b.Fatal(err)
	}
	g, err := w.Seal()
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(start).Seconds()
	if err := g.Remove(); err != nil {
		b.Fatal(err)
	}
	return took
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// warm touches as much memory as a Fill takes and gives it back: on a virtual
// machine the first touch of memory costs more than reading it from disk.
func warm(tb testing.TB, s *Store, n int64) {
	w, err := s.Create("warm", n)
	if err != nil {
		tb.Fatal(err)
	}
	defer w.Discard()
	for p := w.Bytes(); len(p) > 0; p = p[min(len(p), 2<<20):] {
		p[0] = 1
	}
}

// nullRead reads as fast as the disk gives it: 8 reads of 1 MiB in flight, each
// into its one buffer of warm huge pages.
type nullRead struct {
	f       filling
	fd      int
	buffers [][]byte
}

const (
	nullReads = 8
	nullSize  = 1 << 20
)

func newNullRead(tb testing.TB, s *Store, origin *os.File, f filling) *nullRead {
	fd, err := openWith(origin, unix.O_DIRECT)
	if err != nil {
		tb.Skipf("the disk has no direct reads: %v", err)
	}
	r := &nullRead{f: f, fd: fd}
	// Huge pages here too: into small ones the disk reads at half the speed.
	w, err := s.Create("nothing", nullReads*nullSize)
	if err != nil {
		tb.Fatal(err)
	}
	r.buffers = slices.Collect(slices.Chunk(w.Bytes(), nullSize))
	for _, p := range r.buffers {
		clear(p)
	}
	tb.Cleanup(func() {
		w.Discard()
		_ = unix.Close(fd)
	})
	return r
}

func (r *nullRead) time(tb testing.TB, s *Store) float64 {
	warm(tb, s, r.f.n)
	start := time.Now()
	var next atomic.Int64
	var group sync.WaitGroup
	for _, p := range r.buffers {
		group.Go(func() {
			for {
				at := next.Add(nullSize) - nullSize
				if at >= r.f.off+r.f.n {
					return
				}
				if _, err := unix.Pread(r.fd, p, at); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(start).Seconds()
}

// diskFile is a file with random bytes on a real disk, not cached.
func diskFile(tb testing.TB, size int64) *os.File {
	tb.Helper()
	dir := tb.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		tb.Skipf("%s is no disk (TMPDIR): %v", dir, err)
	}
	f, err := os.Create(filepath.Join(dir, "origin"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	writeRandom(tb, f, size)
	if err := f.Sync(); err != nil {
		tb.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		tb.Fatal(err)
	}
	return f
}

// writeRandom writes bytes that differ from page to page.
func writeRandom(tb testing.TB, f *os.File, size int64) {
	tb.Helper()
	r := rand.NewChaCha8([32]byte{1})
	p := make([]byte, 1<<20)
	_, _ = r.Read(p)
	for at := int64(0); at < size; at += int64(len(p)) {
		_, _ = r.Read(p[:64])
		for i := 4096; i < len(p); i += 4096 {
			copy(p[i:], p[:56])
			p[i]++
		}
		if _, err := f.Write(p[:min(int64(len(p)), size-at)]); err != nil {
			tb.Fatal(err)
		}
	}
}
