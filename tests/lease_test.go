// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// folderFlags are those of os.open(dir) in Python and of exec 3<dir in a shell.
const folderFlags = unix.O_RDONLY | unix.O_DIRECTORY

// TestFolderLease: a handle on a model's folder loads the model in the background
// and is a use of it until it is closed, or killed.
// The control: closed, the model can be evicted.
func TestFolderLease(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		for _, end := range []string{"close", "kill"} {
			r := startReader(t, m.uid)
			start := time.Now()
			fd := must(r.open(d.model("a"), folderFlags))(t)
			if took := time.Since(start); took > patience {
				t.Errorf("the open took %v", took)
			}
			eventually(t, patience, "the model is loaded", func() bool { return d.resident("a") })
			if n := d.status().of(t, "a").Refs; n != 1 {
				t.Errorf("%d references, want 1", n)
			}
			if err := d.set(d.model("a"), "evict", "1"); !errors.Is(err, unix.EBUSY) {
				t.Errorf("evict of a model with a lease: %v, want EBUSY", err)
			}
			if end == "kill" {
				r.kill()
			} else if err := r.close(fd); err != nil {
				t.Error(err)
			}
			eventually(t, patience, end+" ends the reference", func() bool { return d.status().of(t, "a").Refs == 0 })
			if err := d.set(d.model("a"), "evict", "1"); err != nil {
				t.Errorf("evict after %s: %v", end, err)
			}
		}
	})
}

// TestShellLease: exec 3<FOLDER in a shell is a lease as well.
func TestShellLease(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		sh := as(exec.Command("sh", "-c", `exec 3<"$0"; sleep 60`, d.model("a")), m.uid)
		sh.Dir, sh.Env = "/", []string{"PATH=" + os.Getenv("PATH")}
		sh.SysProcAttr.Setpgid = true
		if err := sh.Start(); err != nil {
			t.Fatal(err)
		}
		end := func() { _ = unix.Kill(-sh.Process.Pid, unix.SIGKILL); _ = sh.Wait() }
		defer end()
		eventually(t, patience, "the model is loaded and used", func() bool {
			s := d.status().of(t, "a")
			return s.State == "resident" && s.Refs >= 1 // the sleep has the descriptor too
		})
		end()
		eventually(t, patience, "the shell's end ends it", func() bool { return d.status().of(t, "a").Refs == 0 })
	}, normal, unprivileged)
}

// TestListingIsNoLease: whoever opens a folder to list it loads nothing and is no
// user: with O_NONBLOCK as ls does, or listing at once; and listing ends a lease.
// The control: TestFolderLease, where the same open without a listing loads.
func TestListingIsNoLease(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		idle := must(d.open(d.model("a"), folderFlags|unix.O_NONBLOCK))(t)
		must(d.list(d.model("a")))(t)
		listed := must(d.open(d.model("a"), folderFlags))(t)
		must(call[int, []byte](d.reader, "Readdir", listed))(t)
		d.shell("ls " + d.model("a"))
		d.shell("find " + d.model("a") + " -name x")
		d.shell("test -d " + d.model("a"))
		time.Sleep(300 * time.Millisecond)
		if s := d.status(); s.Counters.Loads+s.Counters.Misses != 0 || s.of(t, "a").Refs != 0 {
			t.Errorf("listing made %d loads and %d references", s.Counters.Loads, s.of(t, "a").Refs)
		}
		leased := must(d.open(d.model("a"), folderFlags))(t)
		eventually(t, patience, "a lease loads", func() bool { return d.resident("a") })
		if names := must(call[int, []byte](d.reader, "Readdir", leased))(t); len(names) == 0 {
			t.Error("the lease's folder is empty")
		}
		eventually(t, patience, "listing ends the lease", func() bool { return d.status().of(t, "a").Refs == 0 })
		if err := d.set(d.model("a"), "evict", "1"); err != nil {
			t.Errorf("evict after the lease was listed: %v", err)
		}
		for _, fd := range []int{idle, listed, leased} {
			if err := d.close(fd); err != nil {
				t.Error(err)
			}
		}
	})
}

// Readdir lists an open folder, as getdents(2) gives it.
func (*reading) Readdir(fd int, entries *[]byte) error {
	buf := make([]byte, 1<<16)
	n, err := unix.Getdents(fd, buf)
	*entries = buf[:max(n, 0)]
	return coded(err)
}
