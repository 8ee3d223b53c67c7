// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// FsxArgs say which file two processes change at the same time, each its own half of
// every page, and how.
type FsxArgs struct {
	Path        string
	Seed        uint64
	Half, Steps int
	Largest     int64
}

// Fsx writes and reads at random through write(), pwrite, O_APPEND, a mapping and
// ftruncate, and compares with a model of what it has written itself.
func (*reading) Fsx(a FsxArgs, _ *None) (err error) {
	const unit = 2048 // half a page is one process's
	rnd := rand.New(rand.NewPCG(a.Seed, uint64(a.Half)))
	fd, err := unix.Open(a.Path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return coded(err)
	}
	defer unix.Close(fd)
	model := make(map[int64]byte) // of own units: the byte that fills it
	defer fault(&err)
	var m []byte
	defer func() {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}()
	size := func() int64 {
		var st unix.Stat_t
		_ = unix.Fstat(fd, &st)
		return st.Size
	}
	own := func(limit int64) int64 { return (rnd.Int64N(max(limit/(2*unit), 1))*2 + int64(a.Half)) * unit }
	fill := func(b byte) []byte { return []byte(strings.Repeat(string([]byte{b & 0x7f}), unit)) }
	check := func(step int, at int64, got []byte) error {
		want := model[at]
		for i, b := range got {
			if b != want {
				return fmt.Errorf("step %d of seed %d: byte %d of the unit at %d is %d, want %d", step, a.Seed, i, at, b, want)
			}
		}
		return nil
	}
	for step := range a.Steps {
		b := byte(rnd.IntN(127) + 1)
		switch rnd.IntN(6) {
		case 0: // write, growing perhaps
			at := own(a.Largest)
			if _, err := unix.Pwrite(fd, fill(b), at); err != nil {
				return coded(fmt.Errorf("pwrite at %d: %w", at, err))
			}
			model[at] = b
		case 1: // grow; the other one may have grown it further
			n := rnd.Int64N(a.Largest)
			if err := unix.Ftruncate(fd, n); err != nil && !errors.Is(err, unix.EPERM) {
				return coded(fmt.Errorf("ftruncate to %d: %w", n, err))
			}
		case 2, 3: // through the mapping
			end := size()
			if int64(len(m)) != end && end > 0 {
				if m != nil {
					_ = unix.Munmap(m)
				}
				if m, err = unix.Mmap(fd, 0, int(end), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
					return coded(fmt.Errorf("mmap %d: %w", end, err))
				}
			}
			at := own(int64(len(m)))
			if at+unit > int64(len(m)) {
				continue
			}
			if rnd.IntN(2) == 0 {
				if err := check(step, at, m[at:at+unit]); err != nil {
					return err
				}
			} else {
				copy(m[at:at+unit], fill(b))
				model[at] = b
			}
		default: // read
			end := size()
			at := own(end)
			if at+unit > end {
				continue
			}
			got := make([]byte, unit)
			if n, err := unix.Pread(fd, got, at); err != nil || n != unit {
				return coded(fmt.Errorf("pread %d bytes at %d of %d: %w", n, at, end, err))
			}
			if err := check(step, at, got); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestWritersAgree: two processes write one file in every way that there is, and each
// finds what it has written.
func TestWritersAgree(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--session-quota", "64MiB")
		d.shell("mkdir " + d.at("sessions/s"))
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		for round := range uint64(3) {
			path := d.at("sessions/s", fmt.Sprint(round))
			d.shell("touch " + path)
			var both sync.WaitGroup
			for half := range 2 {
				r := startReader(t, m.uid)
				both.Go(func() {
					if _, err := call[FsxArgs, None](r, "Fsx", FsxArgs{path, seed + round, half, 1500, 5<<20 + 777}); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
		}
		d.shell("rm -r " + d.at("sessions/s"))
		eventually(t, patience, "nothing is in use", func() bool { return len(d.written()) == 0 })
	})
}

// OddArgs ask for one odd thing.
type OddArgs struct{ Path, What string }

// Odd does what programs rarely do, on a file that exists.
func (*reading) Odd(a OddArgs, _ *None) error {
	open := func(flags int) (int, error) { return unix.Open(a.Path, flags|unix.O_CLOEXEC, 0o644) }
	with := func(flags int, f func(fd int) error) error {
		fd, err := open(flags)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(fd)
	}
	allocate := func(mode uint32, off, n int64) error {
		return with(unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, mode, off, n) })
	}
	switch a.What {
	case "truncate":
		return coded(unix.Truncate(a.Path, 1<<20))
	case "truncate less":
		return coded(unix.Truncate(a.Path, 1))
	case "truncate huge":
		return coded(unix.Truncate(a.Path, 1<<62))
	case "write far":
		return coded(with(unix.O_RDWR, func(fd int) error { _, err := unix.Pwrite(fd, []byte{1}, 1<<62); return err }))
	case "append":
		return coded(with(unix.O_WRONLY|unix.O_APPEND, func(fd int) error { _, err := unix.Write(fd, []byte("more")); return err }))
	case "direct":
		return coded(with(unix.O_RDWR|unix.O_DIRECT, func(fd int) error {
			m, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return err
			}
			defer func() { _ = unix.Munmap(m) }()
			_, err = unix.Pwrite(fd, m[:4096], 4096)
			return err
		}))
	case "exclusive":
		return coded(with(unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, func(int) error { return nil }))
	case "allocate":
		return coded(allocate(0, 0, 2<<20))
	case "allocate huge":
		return coded(allocate(0, 0, 1<<60))
	case "keep":
		return coded(allocate(unix.FALLOC_FL_KEEP_SIZE, 0, 64<<20))
	case "zero":
		return coded(allocate(unix.FALLOC_FL_ZERO_RANGE, 0, 4096))
	case "collapse":
		return coded(allocate(unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096))
	case "read only and truncate":
		return coded(with(unix.O_RDONLY|unix.O_TRUNC, func(int) error { return nil }))
	case "link":
		return coded(unix.Link(a.Path, a.Path+"2"))
	case "symlink":
		return coded(unix.Symlink(a.Path, a.Path+"2"))
	case "fifo":
		return coded(unix.Mkfifo(a.Path+"2", 0o644))
	case "exchange":
		return coded(unix.Renameat2(unix.AT_FDCWD, a.Path, unix.AT_FDCWD, filepath.Dir(a.Path), unix.RENAME_EXCHANGE))
	case "long name":
		return coded(unix.Rename(a.Path, filepath.Join(filepath.Dir(a.Path), strings.Repeat("n", 256))))
	case "unlinked":
		return coded(with(unix.O_RDWR, func(fd int) error {
			if err := unix.Unlink(a.Path); err != nil {
				return err
			}
			if err := unix.Ftruncate(fd, 3<<20); err != nil {
				return err
			}
			if _, err := unix.Pwrite(fd, []byte{1}, 5<<20); err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil || st.Size != 5<<20+1 {
				return fmt.Errorf("size is %d: %w", st.Size, err)
			}
			return unix.Fchmod(fd, 0o600)
		}))
	}
	return errors.New("unknown")
}

// TestOddCalls: what programs rarely do has the error that they expect, and what is
// there stays as it is.
func TestOddCalls(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--session-quota", "16MiB")
		d.shell("mkdir " + d.at("sessions/s") + " " + d.at("models/m"))
		for _, dir := range []string{"sessions/s", "models/m"} {
			sealed := dir == "models/m"
			for _, c := range []struct {
				what         string
				want, sealed error // of a session's file, and of a sealed one
			}{
				{"truncate", nil, unix.EPERM},
				{"truncate less", unix.EPERM, unix.EPERM},
				{"truncate huge", unix.ENOSPC, unix.EPERM},
				{"write far", unix.ENOSPC, unix.EPERM},
				{"append", nil, unix.EPERM},
				{"direct", nil, unix.EPERM},
				{"exclusive", unix.EEXIST, unix.EEXIST},
				{"allocate", nil, unix.EPERM},
				{"allocate huge", unix.ENOSPC, unix.EPERM},
				{"keep", unix.EOPNOTSUPP, unix.EPERM},
				{"zero", unix.EPERM, unix.EPERM},
				{"collapse", unix.EOPNOTSUPP, unix.EPERM}, // the kernel's own answer
				{"read only and truncate", nil, unix.EPERM},
				{"link", unix.EPERM, unix.EPERM},
				{"symlink", unix.EPERM, unix.EPERM},
				{"fifo", unix.EPERM, unix.EPERM},
				{"long name", unix.ENAMETOOLONG, unix.ENAMETOOLONG},
				{"unlinked", nil, unix.EPERM},
			} {
				path := d.at(dir, "f.safetensors")
				d.shell("rm -f " + path + " && printf '%9000s' x >" + path)
				want := c.want
				if sealed {
					must(d.read(path))(t) // it is sealed by now
					want = c.sealed
				}
				_, err := call[OddArgs, None](d.reader, "Odd", OddArgs{path, c.what})
				if !errors.Is(err, want) || (err == nil) != (want == nil) {
					t.Errorf("%s in %s: %v, want %v", c.what, dir, err, want)
				}
				if sealed {
					if got := must(d.read(path))(t); len(got) != 9000 {
						t.Errorf("after %s it has %d bytes", c.what, len(got))
					}
				}
			}
		}
		d.shell("rm -r " + d.at("sessions/s") + " " + d.at("models/m"))
		d.nothingWritten()
	})
}

// TestFull: with no room left every way to grow says so, and nobody dies of what he
// has: children fill a session through mappings and writes against a small budget.
func TestFull(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--memory", "24MiB", "--session-quota", "1GiB")
		d.shell("mkdir " + d.at("sessions/s"))
		var all sync.WaitGroup
		for i := range 4 {
			r := startReader(t, m.uid)
			all.Go(func() {
				for round := range 30 {
					path := d.at("sessions/s", fmt.Sprint(i))
					id, err := call[WriterArgs, int](r, "WriteMapped", WriterArgs{path, weights.Pattern(uint64(round), 7*small)})
					switch {
					case err == nil:
						if err := r.unmap(id); err != nil {
							t.Error(err)
						}
					case !errors.Is(err, unix.ENOSPC):
						t.Errorf("a writer of a mapping: %v", err)
					}
					err = r.put(WriteArgs{Path: path, Flags: unix.O_RDWR | unix.O_CREAT, Size: -1, At: 9 * small, Bytes: make([]byte, small)})
					if err != nil && !errors.Is(err, unix.ENOSPC) {
						t.Errorf("write: %v", err)
					}
					_, _ = d.shellAs(m.uid, "rm -f "+path)
				}
			})
		}
		all.Wait()
		d.shell("rm -rf " + d.at("sessions/s"))
		d.nothingWritten()
	})
}

// TestEvictStorm: while models are copied in, everything that nobody uses is evicted
// again and again. A copy works or fails; what a reader has is whole; nothing is lost
// of the count.
func TestEvictStorm(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		content := weights.Single(1, small)
		from := p.write("x/one", content)
		cfg := p.write("x/cfg", []byte("{}"))
		d := p.start()
		stop := make(chan struct{})
		var storm sync.WaitGroup
		storm.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = d.set(d.at("models"), "evict", "idle")
				}
			}
		})
		var copies sync.WaitGroup
		done := make([]int, 3)
		for i := range done {
			r := startReader(t, m.uid)
			copies.Go(func() {
				for range 25 {
					dir := d.at("models", fmt.Sprint("m", i))
					_, errCopy := d.shellAs(m.uid, fmt.Sprintf("mkdir %[1]s && mkdir %[1]s/unet && cp %[2]s %[1]s/unet/a.safetensors && cp %[2]s %[1]s/unet/b.safetensors && cp %[3]s %[1]s/model_index.json", dir, from, cfg))
					if errCopy == nil {
						done[i]++
					}
					if id, err := r.attach(filepath.Join(dir, "unet/a.safetensors")); err == nil {
						if sum, err := r.sum(id); err != nil || sum != digest(content) {
							t.Errorf("a reader has other bytes: %v", err)
						}
						_ = r.unmap(id)
					} else if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESTALE) {
						st, err2 := r.stat(filepath.Join(dir, "unet/a.safetensors"))
						b, err3 := r.read(filepath.Join(dir, "unet/a.safetensors"))
						t.Errorf("open: %v; size %d %v, %d bytes %v; copy said %v", err, st.Size, err2, len(b), err3, errCopy)
					}
					_, _ = d.shellAs(m.uid, "rm -rf "+dir)
				}
			})
		}
		copies.Wait()
		close(stop)
		storm.Wait()
		t.Logf("whole copies: %v", done)
		d.shell("rm -rf " + d.at("models/m*"))
		d.nothingWritten()
		eventually(t, patience, "nothing is resident", func() bool { return d.status().Memory.Resident == 0 })
	}, normal, noPassthrough)
}

// TestKilledSessions: sessions are made and their makers killed at random moments;
// when their time is over nothing is left.
func TestKilledSessions(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--session-ttl", "2s")
		script := fmt.Sprintf(`i=0; while :; do i=$((i+1)); s=%s/$$-$i; mkdir $s && echo data >$s/a && dd if=/dev/zero of=$s/b bs=100k count=1 2>/dev/null; done`, d.at("sessions"))
		made := 0
		deadline := time.Now().Add(12 * time.Second)
		for time.Now().Before(deadline) {
			cmd := as(exec.Command("sh", "-c", script), m.uid)
			cmd.SysProcAttr.Setpgid = true
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			_ = cmd.Wait()
			made++
		}
		t.Logf("%d makers were killed", made)
		eventually(t, patience, "all sessions are gone", func() bool {
			names, err := d.list(d.at("sessions"))
			return err == nil && len(names) == 0
		})
		d.nothingWritten()
	}, normal, noPassthrough)
}
