// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// nothingWritten sees that nothing of what processes wrote is left: no bytes by the
// daemon's own count, no file where it keeps them, no descriptor.
func (d *daemon) nothingWritten() {
	d.t.Helper()
	var left []string
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left = d.written()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	d.t.Errorf("left of what was written: %s", left)
}

func (d *daemon) written() (left []string) {
	d.t.Helper()
	s := d.status().Memory
	if s.Session != 0 || s.MappedAfterEviction != 0 {
		left = append(left, fmt.Sprintf("%+v", s))
	}
	if st := must(d.statfs(d.mount))(d.t); st.Bfree*uint64(st.Bsize)+uint64(s.Resident) != st.Blocks*uint64(st.Bsize) {
		left = append(left, fmt.Sprintf("%d of %d blocks are free, %d bytes resident", st.Bfree, st.Blocks, s.Resident))
	}
	dir := d.writtenDir()
	_ = filepath.WalkDir(dir, func(path string, e iofs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			left = append(left, path)
		}
		return nil
	})
	fds := must(os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.daemonPID())))(d.t)
	for _, e := range fds {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", d.daemonPID(), e.Name()))
		if err == nil && strings.HasPrefix(to, dir+"/") {
			left = append(left, "descriptor of "+to)
		}
	}
	return left
}

// writtenDir is where the daemon keeps what is written.
func (d *daemon) writtenDir() string {
	d.t.Helper()
	if d.mode.uid == 0 {
		return must(filepath.Glob("/run/modelfs/*" + filepath.Base(d.dir) + "*.segments/written"))(d.t)[0]
	}
	return must(filepath.Glob("/dev/shm/modelfs-*" + filepath.Base(d.dir) + "*/written"))(d.t)[0]
}

// daemonFiles bounds how many files the daemon may have open.
func (d *daemon) daemonFiles(n uint64) {
	d.t.Helper()
	// Its own user may, and root not everywhere.
	cmd := as(exec.Command("prlimit", "--pid", fmt.Sprint(d.daemonPID()), fmt.Sprintf("--nofile=%[1]d:%[1]d", n)), d.mode.uid)
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
}

// TestManySegments: a daemon keeps more segments than it may have files open, or lets go
// of the oldest where each takes a descriptor; every open succeeds.
func TestManySegments(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const limit = 150
		p := newPlace(t, m)
		var ts []weights.Tensor
		for i := range 2 * limit {
			ts = append(ts, weights.Bytes(fmt.Sprintf("t%03d", i), uint64(i), 5000))
		}
		p.write("m/model.safetensors", weights.Safetensors(ts...))
		d := p.start()
		d.daemonFiles(limit)
		for _, w := range ts {
			if got, err := d.read(d.at("tensors/m", w.Name)); err != nil || !bytes.Equal(got, w.Data) {
				t.Fatalf("%s: %v, or other bytes", w.Name, err)
			}
			if got, err := d.read(d.at("tensors/m", w.Name+".npy")); err != nil || !bytes.Equal(got[4096:], w.Data) {
				t.Fatalf("%s.npy: %v, or other bytes", w.Name, err)
			}
		}
		c := d.status().Counters
		if keeps := m.uid == 0; c.Loads != int64(2*len(ts)) || keeps != (c.Evictions == 0) {
			t.Errorf("%d loads and %d evictions of %d files", c.Loads, c.Evictions, 2*len(ts))
		}
		if got := must(d.read(d.at("tensors/m/t000")))(t); !bytes.Equal(got, ts[0].Data) {
			t.Error("the first one has other bytes")
		}
		eventually(t, patience, "few descriptors are left", func() bool {
			return len(must(os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.daemonPID())))(t)) < limit
		})
		if _, stderr, code := d.run("evict", "m"); code != 0 {
			t.Errorf("evict: %s", stderr)
		}

		// All of them open at once: none needs a descriptor on the tmpfs, each does as a memfd.
		r := startReader(t, m.uid)
		var err error
		for i := 0; i < len(ts) && err == nil; i++ {
			_, err = r.open(d.at("tensors/m", ts[i].Name), unix.O_RDONLY)
		}
		if m.uid == 0 && err != nil || m.uid != 0 && !errors.Is(err, unix.ENFILE) {
			t.Errorf("all of them open: %v", err)
		}
		r.kill()
		eventually(t, patience, "any can be opened again", func() bool {
			got, err := d.read(d.at("tensors/m", ts[len(ts)-1].Name))
			return err == nil && bytes.Equal(got, ts[len(ts)-1].Data)
		})
	})
}

// TestManySmallFiles: a daemon keeps more files than it may have open.
func TestManySmallFiles(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		d.daemonFiles(200)
		d.shell(fmt.Sprintf("mkdir %[1]s %[2]s && for i in $(seq 500); do echo $i >%[1]s/$i; echo $i >%[2]s/$i.txt; done", d.at("sessions/s"), d.at("models/m")))
		if got := must(d.read(d.at("sessions/s/77")))(t); string(got) != "77\n" {
			t.Errorf("read %q", got)
		}
		if got := must(d.read(d.at("models/m/78.txt")))(t); string(got) != "78\n" {
			t.Errorf("read %q", got)
		}
		// Who opens more than the daemon may have is told so, and nobody else suffers for
		// longer than that.
		r := startReader(t, m.uid)
		var err error
		for i := 1; i <= 300 && err == nil; i++ {
			_, err = r.open(d.at("sessions/s", fmt.Sprint(i)), unix.O_RDWR)
		}
		if err == nil || !strings.Contains(err.Error(), "too many open files in system") {
			t.Errorf("300 open files: %v, want ENFILE", err)
		}
		r.kill()
		eventually(t, patience, "others open again", func() bool { _, err := d.read(d.at("sessions/s/5")); return err == nil })
		d.shell("rm -r " + d.at("sessions/s") + " " + d.at("models/m"))
		d.nothingWritten()
	}, normal, noPassthrough)
}

// TestKilledDaemon: what was written to a daemon that is killed goes with modelfs umount,
// and with the next daemon at that place.
func TestKilledDaemon(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, how := range []string{"umount", "mount"} {
			p := newPlace(t, m)
			d := p.start()
			d.shell(fmt.Sprintf("mkdir %[1]s && dd if=/dev/zero of=%[1]s/f bs=1M count=3 2>/dev/null", d.at("sessions/s")))
			before := d.writtenDir()
			d.die()
			if how == "mount" {
				next := p.start()
				if names := must(next.list(next.at("sessions")))(t); len(names) > 0 {
					t.Errorf("the next daemon has %s", names)
				}
				if _, err := os.Stat(filepath.Join(before, "sessions.unsealed/2")); err == nil {
					t.Error("its file is still there")
				}
				continue
			}
			if _, stderr, code := d.run("umount", d.mount); code != 0 {
				t.Errorf("umount: %s", stderr)
			}
			if _, err := os.Stat(filepath.Dir(before)); err == nil {
				t.Errorf("%s is still there", before)
			}
		}
	})
}
