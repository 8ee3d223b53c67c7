// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// refused runs a mount that must not come about and returns what it says.
func (p *place) refused(t *testing.T, mount string, want int, args ...string) string {
	t.Helper()
	args = append(append([]string{"mount", "--memory", "64MiB"}, args...), mount)
	_, stderr, code := runCommand(t, p.command(p.mode.uid, args...))
	if code != want {
		t.Errorf("%v exits %d, want %d: %s", args, code, want, stderr)
	}
	if strings.Contains(stderr, "ready") {
		t.Errorf("%v says it is ready", args)
	}
	return stderr
}

// TestMountPoint: a mount point that is missing, a file, or in use by whatever
// filesystem is refused with what is wrong with it, and is as it was.
// The control: the same command on an empty folder works.
func TestMountPoint(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		file := p.write("file", []byte("x"))
		other := p.folder("other")
		if err := unix.Mount("test", other, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(other, 0); err != nil {
				t.Error(err)
			}
		})
		d := p.start()
		for _, c := range []struct{ mount, says string }{
			{filepath.Join(p.dir, "missing"), "mkdir -p"},
			{filepath.Join(file, "below"), "not"},
			{file, "not a folder"},
			{other, "of type tmpfs; unmount it first: umount " + other},
			{d.mount, "modelfs umount " + d.mount},
		} {
			if says := p.refused(t, c.mount, 1, "--models", p.models); !strings.Contains(says, c.says) || !strings.Contains(says, c.mount) {
				t.Errorf("mount at %s says %q, without the place or %q", c.mount, says, c.says)
			}
		}
		if n := mountsAt(t, d.mount) + mountsAt(t, other); n != 2 {
			t.Errorf("%d mounts are at the two places, want 2", n)
		}
		d.use("a") // the one that was there is none the worse
	})
}

// TestTwoDaemons: of two daemons that start at one mount point at the same time
// one serves, and the other says so and leaves nothing.
func TestTwoDaemons(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for range 5 {
			p := newPlace(t, m)
			p.writeModels("a")
			mount := filepath.Join(p.dir, "mnt")
			var both []*daemon
			restore := func() {}
			if m.uid != 0 {
				restore = openFuse(t)
			}
			for range 2 {
				both = append(both, p.launchQuietly(mount, "--models", p.models))
			}
			var ready, over int
			eventually(t, patience, "one is ready and the other over", func() bool {
				ready, over = 0, 0
				for _, d := range both {
					select {
					case <-d.ended:
						over++
					default:
						if strings.Contains(d.log.String(), "ready") {
							ready++
						}
					}
				}
				return ready+over == 2
			})
			restore()
			if ready != 1 || over != 1 || mountsAt(t, mount) != 1 {
				t.Errorf("%d are ready, %d are over, %d mounts", ready, over, mountsAt(t, mount))
			}
			for _, d := range both {
				select {
				case <-d.ended:
					d.gone = true
					if code := d.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(d.log.String(), mount) {
						t.Errorf("the one that lost exits %d and says %s", code, d.log)
					}
				default:
					d.reader = startReader(t, m.uid)
					d.use("a")
					d.reader.kill()
					d.end()
				}
			}
		}
	})
}

// TestRemount: a mount point can be used again and again, at once.
func TestRemount(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		for range 5 {
			d := p.start()
			d.use("a")
			id := must(d.attach(d.model("a/model.safetensors")))(t)
			if err := d.unmap(id); err != nil {
				t.Fatal(err)
			}
			d.reader.kill()
			d.end()
		}
	})
}

// TestBackground: --daemon returns when the mount is ready, the mount works, and
// modelfs umount ends it and waits until all is given back.
func TestBackground(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		mount := filepath.Join(p.dir, "mnt")
		args := append([]string{"mount", "--memory", "64MiB", "--models", p.models, "--daemon", "--log", filepath.Join(p.folder("logs"), "log")}, m.args...)
		restore := func() {}
		if m.uid != 0 {
			restore = openFuse(t)
		}
		out, stderr, code := runCommand(t, p.command(m.uid, append(args, mount)...))
		restore()
		if code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, out, stderr)
		}
		r := startReader(t, m.uid)
		must(r.read(filepath.Join(mount, "models/a/model.safetensors")))(t)
		r.kill()
		if _, stderr, code := runCommand(t, p.command(m.uid, "umount", mount)); code != 0 {
			t.Errorf("umount exits %d: %s", code, stderr)
		}
		if left := remains(t, filepath.Base(p.dir)); len(left) > 0 {
			t.Errorf("after modelfs umount there still are %q", left)
		}
	}, normal, noPassthrough, unprivileged)
}

// TestWrongUsage: unknown flags, sizes, policies and the like exit with 2 and the
// right spelling, before anything is mounted.
// The control: the right spelling mounts, in every other test.
func TestWrongUsage(t *testing.T) {
	p := newPlace(t, normal)
	p.writeModels("a")
	mount := filepath.Join(p.dir, "mnt")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--polcy", "lru"}, "--policy"},
		{[]string{"--policy", "lur"}, "lru"},
		{[]string{"--policy", "fifo"}, "lru, lfu, manual"},
		{[]string{"--over-budget", "orgin"}, "origin"},
		{[]string{"--passthrough", "yes"}, "auto, on, off"},
		{[]string{"--hugepages", "2MiB"}, "auto, on, off"},
		{[]string{"--memory", "12XB"}, "GiB"},
		{[]string{"--memory", "-1"}, "--memory"},
		{[]string{"--memory", "0"}, "--memory"},
		{[]string{"--ttl", "soon"}, "--ttl"},
		{[]string{"--ttl", "-5s"}, "--ttl"},
		{[]string{"--max-models", "-1"}, "--max-models"},
		{[]string{"--max-models", "many"}, "--max-models"},
		{[]string{mount, "extra"}, "mount"},
	} {
		args := append([]string{"mount", "--models", p.models}, c.args...)
		_, stderr, code := runCommand(t, p.command(0, append(args, mount)...))
		if code != 2 || !strings.Contains(stderr, c.says) {
			t.Errorf("%v exits %d and says %q, want 2 and %q", c.args, code, stderr, c.says)
		}
	}
	for _, args := range [][]string{{"mount"}, {"mout", mount}, {"evict"}, {"umount"}, {"load"}, {"inspect"}} {
		if _, stderr, code := runCommand(t, p.command(0, args...)); code != 2 || stderr == "" {
			t.Errorf("%v exits %d and says %q, want 2", args, code, stderr)
		}
	}
	if n := mountsAt(t, mount); n != 0 {
		t.Errorf("%d mounts came about", n)
	}
}

// TestUnavailable: what is asked for with on and cannot be had is a refusal that
// says why; nothing is left mounted. A source that is not there is refused too.
func TestUnavailable(t *testing.T) {
	p := newPlace(t, unprivileged)
	p.writeModels("a")
	mount := filepath.Join(p.dir, "mnt")
	restore := openFuse(t)
	defer restore()
	for _, flag := range []string{"--passthrough", "--hugepages"} {
		if says := p.refused(t, mount, 1, "--models", p.models, flag, "on"); !strings.Contains(says, flag) || !strings.Contains(says, "root") {
			t.Errorf("%s on, without privilege, says %q", flag, says)
		}
		eventually(t, patience, "nothing is mounted", func() bool { return mountsAt(t, mount) == 0 })
	}
	missing := filepath.Join(p.dir, "nowhere")
	if says := p.refused(t, mount, 1, "--models", missing); !strings.Contains(says, missing) {
		t.Errorf("a source that is not there: %q", says)
	}
	if err := os.WriteFile(missing, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if says := p.refused(t, mount, 1, "--models", missing); !strings.Contains(says, missing) {
		t.Errorf("a source that is no weight file: %q", says)
	}
}

// TestRefusedByFusermount: what keeps fusermount3 from mounting for a user is said in a
// sentence with what to do about it, as modelfs doctor has it.
// The control: the same user mounts in every other test.
func TestRefusedByFusermount(t *testing.T) {
	p := newPlace(t, unprivileged)
	p.writeModels("a")
	mount := filepath.Join(p.dir, "mnt")
	check := func(what, sentence string, args ...string) {
		t.Helper()
		says := p.refused(t, mount, 1, append(args, "--models", p.models)...)
		if !strings.Contains(says, sentence) || strings.Contains(says, "exited with code") || strings.Contains(says, "\n\n") {
			t.Errorf("%s: it says %q, without %q", what, says, sentence)
		}
	}
	restore := closeFuse(t)
	check("a device that is closed", "the device must be open to you (-rw-rw-rw-)")
	restore()
	restore = openFuse(t)
	defer restore()
	if conf, _ := os.ReadFile("/etc/fuse.conf"); !strings.Contains("\n"+string(conf), "\nuser_allow_other") {
		check("--allow-other", "root adds the line user_allow_other", "--allow-other")
	}
	if err := errors.Join(os.Chown(mount, 0, 0), os.Chmod(mount, 0o755)); err != nil {
		t.Fatal(err)
	}
	says := p.refused(t, mount, 1, "--models", p.models)
	if !strings.Contains(says, "says why above") || !strings.Contains(says, "fusermount3: ") || strings.HasSuffix(says, "\n\n") {
		t.Errorf("a mount point that is not his: it says %q", says)
	}
}

// TestUmountByStranger: who may not unmount is told whose mount it is.
// The control: it is still there, and whose it is may.
func TestUmountByStranger(t *testing.T) {
	for m, says := range map[*mode]string{&normal: "root mounted it", &unprivileged: "mounted it"} {
		p := newPlace(t, *m)
		p.writeModels("a")
		d := p.start()
		_, stderr, code := runCommand(t, p.command(alice, "umount", d.mount))
		if code != 1 || !strings.Contains(stderr, says) || strings.Contains(stderr, "mtab") || strings.Contains(stderr, "fusermount3: ") {
			t.Errorf("umount by another user exits %d and says %q", code, stderr)
		}
		if n := mountsAt(t, d.mount); n != 1 {
			t.Errorf("%d mounts are there", n)
		}
		d.reader.kill()
		if _, stderr, code := runCommand(t, p.command(m.uid, "umount", d.mount)); code != 0 {
			t.Errorf("the control: umount exits %d: %s", code, stderr)
		}
		d.wait(patience)
	}
}

// TestMistypedModels: a model of --load, --pin or --variants that is not there is said
// before the mount goes to the background, and is in the log too; the mount works.
// The control: a model that is there is not mentioned.
func TestMistypedModels(t *testing.T) {
	p := newPlace(t, normal)
	p.writeModels("a")
	mount, log := filepath.Join(p.dir, "mnt"), filepath.Join(p.folder("logs"), "log")
	_, stderr, code := runCommand(t, p.command(0, "mount", "--memory", "64MiB", "--models", p.models, "--daemon", "--log", log,
		"--load", "a", "--load", "wrong-load", "--pin", "a", "--pin", "wrong-pin", "--variants", "a@f16", "--variants", "wrong-variant@f16", "--variants", "f32", mount))
	defer func() {
		if _, stderr, code := runCommand(t, p.command(0, "umount", mount)); code != 0 {
			t.Errorf("umount exits %d: %s", code, stderr)
		}
	}()
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	logged := string(must(os.ReadFile(log))(t))
	for _, name := range []string{"wrong-load", "wrong-pin", "wrong-variant"} {
		for where, text := range map[string]string{"the terminal": stderr, "the log": logged} {
			if strings.Count(text, "model="+name) != 1 {
				t.Errorf("%s does not say once that %s is not there:\n%s", where, name, text)
			}
		}
	}
	if strings.Contains(stderr, "model=a") {
		t.Errorf("it complains of a model that is there:\n%s", stderr)
	}
}
