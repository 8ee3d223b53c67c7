// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestReadOnlyBind is the clone of older kernels.
func TestReadOnlyBind(t *testing.T) {
	s := openTmpfs(t, Config{Size: 1 << 20})
	g := sealed(t, s, "bound", pageSize)
	before := census()
	ro, err := readOnlyBind(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if left := minus(census().mounts, before.mounts); len(left) > 0 {
		t.Errorf("mounts left: %q", left)
	}
	if _, err := unix.Openat(ro, g.entry, unix.O_RDWR, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("open for writing: %v", err)
	}
	fd, err := unix.Openat(ro, g.entry, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	noWriter(t, fmt.Sprintf("/proc/self/fd/%d", fd), unix.EROFS)
	busy(t, g, "a descriptor by the bind")
	_ = unix.Close(fd)
	_ = unix.Close(ro)
	remove(t, g)
}

// pmdMapped is how much of the mapping at m is mapped by huge pages.
func pmdMapped(t *testing.T, m []byte) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m))))
	var sum int64
	var within bool
	for lines := bufio.NewScanner(strings.NewReader(string(text))); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if from, to, ok := strings.Cut(fields[0], "-"); ok {
			a, _ := strconv.ParseUint(from, 16, 64)
			b, _ := strconv.ParseUint(to, 16, 64)
			within = a <= start && start < b
		}
		if within && (fields[0] == "ShmemPmdMapped:" || fields[0] == "FilePmdMapped:") {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += kib << 10
		}
	}
	return sum
}

// TestHugePages: a large segment that was filled is mapped by huge pages, a
// small one wastes nothing, and `off` has none.
func TestHugePages(t *testing.T) {
	const n = 8 << 20
	err := canMount(t)
	need(t, "hugepages", err == nil, "this user cannot mount: "+errorText(err))
	for _, c := range []struct {
		mode Mode
		want int64
	}{{Auto, n}, {On, n}, {Off, 0}} {
		t.Run(string(c.mode), func(t *testing.T) {
			s := openTmpfs(t, Config{Size: 64 << 20, HugePages: c.mode})
			if i := s.Info(); c.mode == Off && (i.HugePages || i.Reason == "") {
				t.Errorf("%+v", i)
			} else if c.mode != Off {
				need(t, "hugepages", i.HugePages, i.Reason)
			}
			origin := originFile(t, t.TempDir(), n)
			got := hugeBytesOf(t, s, origin, n)
			for try := 0; got < c.want && try < 5; try++ {
				// The kernel gives small pages while its memory is in pieces.
				_ = os.WriteFile("/proc/sys/vm/compact_memory", []byte("1"), 0)
				got = hugeBytesOf(t, s, origin, n)
			}
			if got != c.want {
				t.Errorf("%d bytes are mapped by huge pages, want %d", got, c.want)
			}
			small := sealed(t, s, "small", n+1)
			if small.Charged() != n+pageSize {
				t.Errorf("%d bytes are charged for %d", small.Charged(), n+1)
			}
			remove(t, small)
		})
	}
}

// hugeBytesOf fills a segment, reads it through a mapping, and says how much of that is
// mapped by huge pages.
func hugeBytesOf(t *testing.T, s *Store, origin *os.File, n int64) int64 {
	t.Helper()
	b, err := s.Create("large", n)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Fill(t.Context(), origin, 0, n, 0, nil); err != nil {
		t.Fatal(err)
	}
	g, err := b.Seal()
	if err != nil {
		t.Fatal(err)
	}
	m := mapSegment(t, g)
	if differ(m, pattern(n)) >= 0 { // touches every page
		t.Error("other bytes")
	}
	huge := pmdMapped(t, m)
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	remove(t, g)
	return huge
}

func TestHugePagesReason(t *testing.T) {
	dir := tempDir(t)
	for _, c := range []struct {
		setting string
		want    Mode
		mounted bool
		ok      bool
	}{
		{"always within_size advise [never] deny force", Auto, true, true},
		{"always within_size advise never [deny] force", Auto, true, false},
		{"always within_size advise [never] deny force", Auto, false, false},
		{"always within_size advise [never] deny force", Off, true, false},
		{"", On, true, true},
	} {
		if err := os.WriteFile(filepath.Join(dir, "shmem_enabled"), []byte(c.setting), 0o600); err != nil {
			t.Fatal(err)
		}
		if ok, why := hugePages(c.want, c.mounted, dir); ok != c.ok || ok != (why == "") {
			t.Errorf("%+v: %v, %q", c, ok, why)
		}
	}
}

func TestCleanStale(t *testing.T) {
	dir := filepath.Join(tempDir(t), "segments")
	needMounts(t)
	if err := CleanStale(dir); err != nil {
		t.Errorf("nothing there: %v", err)
	}
	// Killed processes: what they mounted is there, one above the other.
	for range 3 {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("modelfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "1-segment"), pattern(100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	user, err := os.Open(filepath.Join(dir, "1-segment"))
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	if err := CleanStale(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
	if got := make([]byte, 100); !readsAll(user, got) || differ(got, pattern(100)) >= 0 {
		t.Error("a user of the stale segment lost it")
	}
}

func readsAll(f *os.File, p []byte) bool {
	n, err := f.ReadAt(p, 0)
	return n == len(p) && err == nil
}

// TestCleanStaleSpares what a daemon cannot have left.
func TestCleanStaleSpares(t *testing.T) {
	dir := filepath.Join(tempDir(t), "segments")
	needMounts(t)
	if err := os.MkdirAll(filepath.Join(dir, "mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CleanStale(dir); err == nil {
		t.Error("a folder that is not empty was taken away")
	}
	if err := unix.Mount("proc", filepath.Join(dir, "mine"), "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := CleanStale(filepath.Join(dir, "mine")); !errors.Is(err, os.ErrExist) {
		t.Errorf("somebody's mount: %v", err)
	}
	if err := unix.Unmount(filepath.Join(dir, "mine"), 0); err != nil {
		t.Error(err)
	}
}
