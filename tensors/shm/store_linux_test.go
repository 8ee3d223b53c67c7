// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInfo(t *testing.T) {
	s := openTmpfs(t, Config{Size: 1 << 20})
	other, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if i := s.Info(); i.Backend != "tmpfs" || !i.Leases || i.Prefix == other.Info().Prefix || i.HugePages != (i.Reason == "") {
		t.Errorf("%+v", i)
	}
	if i := other.Info(); i.Backend != "memfd" || i.Leases || i.HugePages || i.Reason == "" {
		t.Errorf("%+v", i)
	}
	if s.Dir() == "" || other.Dir() != "" {
		t.Errorf("folders %q and %q", s.Dir(), other.Dir())
	}
	st, err := os.Stat(s.Dir())
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	var fs unix.Statfs_t
	const want = unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC
	if err := unix.Statfs(s.Dir(), &fs); err != nil || fs.Flags&want != want {
		t.Errorf("flags %x, %v", fs.Flags, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := tempDir(t)
	needMounts(t)
	for _, size := range []int64{0, -1} {
		if _, err := Open(Config{Dir: filepath.Join(dir, "s"), Size: size}); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("a size of %d: %v", size, err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: file, Size: 1 << 20}); err == nil {
		t.Error("a file was taken for a folder")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestNoPrivilege takes the right to mount from one thread, which ends with it.
func TestNoPrivilege(t *testing.T) {
	dir := tempDir(t)
	needMounts(t)
	var wait sync.WaitGroup
	wait.Go(func() {
		runtime.LockOSThread()
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&head, &caps[0]); err != nil {
			t.Error(err)
			return
		}
		caps[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
		caps[0].Permitted &^= 1 << unix.CAP_SYS_ADMIN
		if err := unix.Capset(&head, &caps[0]); err != nil {
			t.Error(err)
			return
		}
		s, err := Open(Config{Dir: filepath.Join(dir, "segments"), Size: 1 << 20})
		if err != nil {
			t.Error(err)
			return
		}
		if i := s.Info(); i.Backend != "memfd" || !strings.Contains(i.Reason, "operation not permitted") {
			t.Errorf("%+v", i)
		}
		remove(t, sealed(t, s, "m", 100))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	wait.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestReservation: what does not fit is refused before a byte is written, and
// all that was reserved can be written.
func TestReservation(t *testing.T) {
	for _, huge := range []Mode{Auto, Off} {
		t.Run(string(huge), func(t *testing.T) {
			const size = 8 << 20
			s := openTmpfs(t, Config{Size: size, HugePages: huge})
			a, err := s.Create("a", 5<<20+1)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int64{3 << 20, size + 1, 1 << 40} {
				if _, err := s.Create("too much", n); !errors.Is(err, ErrNoSpace) && !errors.Is(err, ErrNoMemory) {
					t.Errorf("%d bytes more: %v", n, err)
				}
			}
			free, _ := room(t, s)
			if want := int64(size - (5<<20 + pageSize)); free != want || len(entries(t, s)) != 1 {
				t.Errorf("%d bytes are free, want %d; files %q", free, want, entries(t, s))
			}
			b, err := s.Create("b", free)
			if err != nil {
				t.Fatal(err)
			}
			// The tmpfs is full.
			origin := originFile(t, t.TempDir(), free)
			if err := b.Fill(t.Context(), origin, 0, free, 0, nil); err != nil {
				t.Error(err)
			}
			for i := range a.Bytes() {
				a.Bytes()[i] = 1 // a SIGBUS if it was not reserved
			}
			if _, err := s.Create("one byte", 1); !errors.Is(err, ErrNoSpace) {
				t.Errorf("into a full tmpfs: %v", err)
			}
			g, err := b.Seal()
			if err != nil {
				t.Error(err)
			} else {
				remove(t, g)
			}
			a.Discard()
		})
	}
}

// TestReservationRace: of two that fit one by one, one is refused.
func TestReservationRace(t *testing.T) {
	s := openTmpfs(t, Config{Size: 8 << 20})
	for range 20 {
		var got [2]*Builder
		var errs [2]error
		var both sync.WaitGroup
		for i := range got {
			both.Go(func() { got[i], errs[i] = s.Create("half and a bit", 5<<20) })
		}
		both.Wait()
		if (got[0] == nil) == (got[1] == nil) || !errors.Is(errors.Join(errs[:]...), ErrNoSpace) {
			t.Fatalf("%v, %v", errs[0], errs[1])
		}
		for _, b := range got {
			if b != nil {
				b.Discard()
			}
		}
	}
}

func TestMemfdMemory(t *testing.T) {
	s := openBackend(t, "memfd")
	if _, err := s.Create("more than there is", 1<<50); !errors.Is(err, ErrNoMemory) {
		t.Errorf("a petabyte: %v", err)
	}
}

// TestNoWriters: neither a mistake here nor a client gets a writable descriptor
// or mapping of a sealed segment.
func TestNoWriters(t *testing.T) {
	for _, c := range []struct {
		backend string
		refused error
	}{{"tmpfs", unix.EROFS}, {"memfd", unix.EPERM}} {
		t.Run(c.backend, func(t *testing.T) {
			s := openBackend(t, c.backend)
			g := sealed(t, s, "immutable", pageSize)
			fd, err := g.OpenBacking()
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = unix.Close(fd)
				remove(t, g)
			}()
			got := make([]byte, pageSize)
			if _, err := g.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			noWriter(t, fmt.Sprintf("/proc/self/fd/%d", fd), c.refused)
			noWriter(t, fmt.Sprintf("/proc/self/fd/%d", g.file.Fd()), c.refused)
			if _, err := unix.Mmap(fd, 0, pageSize, unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EACCES) {
				t.Errorf("a writable mapping: %v", err)
			}
			if err := unix.Ftruncate(fd, 0); err == nil {
				t.Error("truncated")
			}
			if c.backend == "tmpfs" {
				for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_RDONLY | unix.O_TRUNC} {
					if _, err := unix.Openat(s.place.ro, g.entry, flags, 0); !errors.Is(err, unix.EROFS) {
						t.Errorf("open with %#x: %v", flags, err)
					}
				}
				if err := unix.Unlinkat(s.place.ro, g.entry, 0); !errors.Is(err, unix.EROFS) {
					t.Errorf("unlink: %v", err)
				}
			}
			if _, err := g.ReadAt(got, 0); err != nil || differ(got, pattern(pageSize)) >= 0 {
				t.Errorf("the bytes changed, %v", err)
			}
		})
	}
}

// noWriter wants every way of writing through a path refused; a sealed memfd
// opens for writing and then refuses the write.
func noWriter(t *testing.T, path string, refused error) {
	t.Helper()
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR | unix.O_APPEND, unix.O_RDWR | unix.O_TRUNC} {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			_, err = unix.Pwrite(fd, []byte("x"), 0)
			if _, err2 := unix.Mmap(fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err2 == nil {
				t.Errorf("%s with %#x: a writable mapping", path, flags)
			}
			_ = unix.Close(fd)
		}
		if !errors.Is(err, refused) {
			t.Errorf("%s with %#x: %v, want %v", path, flags, err, refused)
		}
	}
}
