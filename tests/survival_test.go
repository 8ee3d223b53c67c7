// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestDaemonKilled: after kill -9 of the daemon mapped readers go on (with
// passthrough; without it their pages that are not there yet are lost), and a new
// mount at the same place cleans up and works, while they still go on.
// The control: without a daemon new opens fail.
func TestDaemonKilled(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const size = 3*small + 100
		content := weights.Single(1, size)
		p := newPlace(t, m)
		p.write("m/model.safetensors", content)
		d := p.start()
		path := d.model("m/model.safetensors")
		r := startReader(t, m.uid)
		id := must(r.attach(path))(t)
		fd := must(r.open(path, unix.O_RDONLY))(t)
		folder := must(r.open(d.model("m"), folderFlags))(t)
		d.die()

		if _, err := r.open(path, unix.O_RDONLY); !errors.Is(err, unix.ENOTCONN) {
			t.Errorf("the control: an open without a daemon: %v, want ENOTCONN", err)
		}
		goesOn := func(when string) {
			t.Helper()
			sum, err := r.sum(id)
			b, readErr := r.pread(fd, 4096, 5000)
			if m.passes() && (err != nil || sum != digest(content)) {
				t.Errorf("%s: the mapping: %v, or other bytes", when, err)
			}
			if m.passes() && (readErr != nil || digest(b) != digest(content[4096:9096])) {
				t.Errorf("%s: the descriptor: %v, or other bytes", when, readErr)
			}
			if !m.passes() && (err == nil || readErr == nil) {
				t.Errorf("%s: without passthrough pages that were never read can be had: the documents say otherwise", when)
			}
		}
		goesOn("without a daemon")

		start := time.Now()
		next := p.start()
		t.Logf("the next mount was ready after %v", time.Since(start))
		if n := mountsAt(t, d.mount); n != 1 {
			t.Errorf("%d mounts are at the mount point", n)
		}
		goesOn("with the next daemon")
		if got := must(next.read(path))(t); digest(got) != digest(content) {
			t.Error("the next daemon shows other bytes")
		}
		if s := next.status(); s.Counters.Loads != 1 || s.of(t, "m").State != "resident" {
			t.Errorf("the next daemon made %d loads, the model is %s", s.Counters.Loads, s.of(t, "m").State)
		}
		if err := errors.Join(r.unmap(id), r.close(fd), r.close(folder)); err != nil {
			t.Error(err)
		}
		if err := next.set(next.model("m"), "evict", "1"); err != nil {
			t.Errorf("evict: %v", err)
		}
	})
}

// TestUmountAfterKill: modelfs umount takes away what a killed daemon left: the
// mount, the tmpfs and its files.
// The control: before, the mount is there and gives ENOTCONN.
func TestUmountAfterKill(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		d.use("a")
		d.die()
		if _, err := d.statfs(d.mount); !errors.Is(err, unix.ENOTCONN) || mountsAt(t, d.mount) != 1 {
			t.Errorf("the control: %v, %d mounts", err, mountsAt(t, d.mount))
		}
		if _, stderr, code := d.run("umount", d.mount); code != 0 {
			t.Errorf("umount exits %d: %s", code, stderr)
		}
		if n := mountsAt(t, d.mount); n != 0 {
			t.Errorf("%d mounts are left", n)
		}
	})
}

// TestUmountWhileMapped: the mount point is free at once, the mapping goes on, and
// afterwards nothing is left; with passthrough the daemon ends at once, without it
// when the mapping does.
// The control: while something is mapped, umount(8) says busy.
func TestUmountWhileMapped(t *testing.T) {
	for _, how := range []string{"modelfs umount", "SIGINT", "SIGTERM", "umount -l"} {
		t.Run(how, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				if how == "umount -l" && m.uid != 0 {
					t.Skip("umount(8) is for root")
				}
				content := weights.Single(1, 3*small)
				p := newPlace(t, m)
				p.write("m/model.safetensors", content)
				d := p.start()
				r := startReader(t, m.uid)
				id := must(r.attach(d.model("m/model.safetensors")))(t)
				if m.uid == 0 {
					out, err := exec.Command("umount", d.mount).CombinedOutput()
					if err == nil || !strings.Contains(string(out), "busy") {
						t.Fatalf("the control: umount: %v %s", err, out)
					}
				}
				d.reader.kill() // has no business there any more
				start := time.Now()
				switch how {
				case "modelfs umount":
					detachWithCommand(t, d)
				case "SIGINT":
					d.cmd.Process.Signal(unix.SIGINT)
				case "SIGTERM":
					d.cmd.Process.Signal(unix.SIGTERM)
				case "umount -l":
					if out, err := exec.Command("umount", "-l", d.mount).CombinedOutput(); err != nil {
						t.Fatalf("%v %s", err, out)
					}
				}
				eventually(t, patience, "the mount point is free", func() bool { return mountsAt(t, d.mount) == 0 })
				t.Logf("free after %v", time.Since(start))
				if m.passes() {
					d.wait(patience)
				}
				if got, err := r.sum(id); err != nil || got != digest(content) {
					t.Errorf("the mapping: %v, or other bytes", err)
				}
				if err := os.Mkdir(filepath.Join(d.mount, "mine"), 0o755); err != nil {
					t.Errorf("the mount point is not an ordinary folder: %v", err)
				}
				if err := r.unmap(id); err != nil {
					t.Error(err)
				}
				if !m.passes() {
					d.wait(patience)
				}
			})
		})
	}
}

// detachWithCommand runs modelfs umount. Where the daemon lives on for its last
// mapping the command waits for it a while, so it is not waited for.
func detachWithCommand(t *testing.T, d *daemon) {
	t.Helper()
	cmd := d.command(d.mode.uid, "umount", d.mount)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("modelfs umount: %v", err)
		}
	})
}

// TestPlainUmount: when nobody uses the mount, umount(8) works and the daemon ends
// well.
func TestPlainUmount(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		d.use("a")
		d.reader.kill()
		var out []byte
		eventually(t, patience, "umount succeeds", func() bool {
			var err error
			out, err = exec.Command("umount", d.mount).CombinedOutput()
			return err == nil
		})
		t.Logf("%s", out)
		d.wait(patience)
	}, normal, noPassthrough, noHugePages)
}

// TestEndWhileLoading: a daemon that is told to end while opens are blocked ends,
// and they fail.
func TestEndWhileLoading(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		file := p.slow().Add("m/model.safetensors", weights.Single(1, small))
		d := p.start()
		file.Hold()
		var waiting []*sleeper
		for range 5 {
			waiting = append(waiting, d.startSleeper(t, d.model("m/model.safetensors")))
		}
		eventually(t, patience, "the load reads", func() bool { return file.Waiting() > 0 })
		d.cmd.Process.Signal(unix.SIGTERM)
		eventually(t, patience, "the mount point is free", func() bool { return mountsAt(t, d.mount) == 0 })
		d.wait(patience)
		for _, s := range waiting {
			if !s.over(patience) {
				t.Fatal("an open is still blocked after the daemon's end")
			}
			if s.cmd.ProcessState.Success() {
				t.Errorf("an open succeeded: %s", s.out.String())
			}
		}
	})
}
