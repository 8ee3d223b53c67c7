// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestStrangers: what one user has made, another one can neither change nor remove nor
// evict, whichever way he goes about it; nor take a name from a source.
// The control: the owner can.
func TestStrangers(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("root")
		from := p.write("x/one", weights.Single(1, small))
		d := p.start("--allow-other")
		mine := func(line string) {
			t.Helper()
			if out, err := d.shellAs(alice, strings.ReplaceAll(line, "@", d.mount)); err != nil {
				t.Fatalf("the control: %s: %v %s", line, err, out)
			}
		}
		mine("umask 022; mkdir @/models/hers @/models/.hers && cp " + from + " @/models/hers/w.safetensors && cp " + from + " @/models/.hers/w.safetensors")
		mine("mkdir -m 1777 @/sessions/open && echo hers >@/sessions/open/f && mkdir @/sessions/hers && echo hers >@/sessions/hers/f")
		mine("cp " + from + " @/objects/61001/.k && mv @/objects/61001/.k @/objects/61001/key")
		for _, line := range []string{
			"rm -rf @/models/hers", "rm -f @/models/hers/w.safetensors", "mv @/models/hers @/models/his", "mv @/models/.hers @/models/his",
			"touch @/models/hers/x", "mkdir @/models/hers/sub", "chmod 777 @/models/hers", "chown 61002 @/models/hers", "chgrp 61002 @/models/hers",
			"touch -d 2001-01-01 @/models/hers/w.safetensors", "truncate -s 5M @/models/.hers/w.safetensors", "truncate -s 5M @/sessions/open/f",
			"rm @/sessions/open/f", "mv @/sessions/open/f @/sessions/open/g", "ln @/sessions/open/f @/sessions/open/g", "rmdir @/sessions/open",
			"echo x >>@/sessions/hers/f", "echo x >@/sessions/hers/g",
			"setfattr -n user.modelfs.ttl -v 0.01 @/sessions/hers", "setfattr -n user.modelfs.quota -v 1 @/sessions/hers",
			"setfattr -n user.modelfs.pinned -v 1 @/models/hers", "setfattr -n user.modelfs.evict -v 1 @/models/hers", "setfattr -n user.modelfs.ttl -v 0.01 @/models/hers",
			"setfattr -n user.modelfs.evict -v all @/models", "setfattr -n user.modelfs.evict -v idle @/models",
			"setfattr -n user.modelfs.evict -v 1:hers @/models", "setfattr -n user.modelfs.pinned -v 1:hers @/models", "setfattr -n user.modelfs.ttl -v 0.01:root @/models",
			"ls @/objects/61001", "cat @/objects/61001/key", "rm @/objects/61001/key", "mkdir @/objects/61003", "touch @/objects/x",
			"rm -rf @/models/root", "rmdir @/models/root", "mv @/models/root @/models/his", "mkdir @/models/root", "touch @/models/root/x", "chmod 700 @/models/root",
			"chmod 777 @/models", "chmod 777 @/sessions", "chown 61002 @/objects", "rmdir @/sessions", "mv @/sessions @/s",
		} {
			if out, err := d.shellAs(bob, strings.ReplaceAll(line, "@", d.mount)); err == nil {
				t.Errorf("a stranger may %s: %s", line, out)
			}
		}
		// A model that is named like an object is no object.
		his := d.at("models/objects/61001/key")
		if out, err := d.shellAs(bob, fmt.Sprintf("umask 022; mkdir -p %[1]s && cp %[2]s %[1]s/w.safetensors && cat %[1]s/w.safetensors >/dev/null && setfattr -n user.modelfs.ttl -v 0.01 %[1]s && setfattr -n user.modelfs.evict -v 1 %[1]s", his, from)); err != nil {
			t.Errorf("%v %s", err, out)
		}
		a := startReader(t, alice)
		for _, path := range []string{"models/hers/w.safetensors", "sessions/open/f", "sessions/hers/f", "objects/61001/key"} {
			if _, err := a.read(d.at(path)); err != nil {
				t.Errorf("afterwards %s: %v", path, err)
			}
		}
		mine("chmod 2775 @/sessions/hers && chgrp 61001 @/sessions/hers && touch @/sessions/hers/g && chmod 6755 @/sessions/hers/g")
		if st := must(a.stat(d.at("sessions/hers/g")))(t); st.Mode&0o7000 != 0 {
			t.Errorf("mode is %o", st.Mode)
		}
		mine("rm -rf @/models/hers @/models/.hers @/sessions/open @/sessions/hers @/objects/61001/key")
		if out, err := d.shellAs(bob, "rm -rf "+d.at("models/objects")); err != nil {
			t.Errorf("%v %s", err, out)
		}
		d.nothingWritten()
	}, normal, noPassthrough)
}

// TestNamesOfOthers: names that a source has are the source's, also in a rename and
// for what was published before under a name of names.
func TestNamesOfOthers(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a", "org/b")
		from := p.write("x/one", weights.Single(1, small))
		d := p.start()
		d.shell(fmt.Sprintf("mkdir %[1]s && cp %[2]s %[1]s/w.safetensors && mkdir %[1]s/below", d.at("models/.new"), from))
		for _, line := range []string{"mv -T @/models/.new @/models/a", "mv -T @/models/.new @/models/org", "mv -T @/models/.new @/models/org/b", "mkdir @/models/org/c", "rmdir @/models/org"} {
			if out, err := d.shellAs(m.uid, strings.ReplaceAll(line, "@", d.mount)); err == nil {
				t.Errorf("%s works: %s", line, out)
			}
		}
		long := strings.Repeat("n", 255)
		for _, name := range []string{"with\nnewline", "\xff\xfe", long, "a b", "-n", "%41", "new@f32"} {
			d.shell(fmt.Sprintf("cp -r %s '%s'", d.at("models/.new"), d.at("models", name)))
			if _, err := d.read(d.at("models", name, "w.safetensors")); err != nil {
				t.Errorf("%q: %v", name, err)
			}
			if _, err := d.read(d.at("tensors", name, "weight")); err != nil {
				t.Errorf("a tensor of %q: %v", name, err)
			}
		}
		if out, stderr, code := d.run("ls"); code != 0 || strings.Contains(out, "with\nnewline") {
			t.Errorf("ls: %d %s %s", code, out, stderr)
		}
		if _, err := d.read(d.at(".modelfs/metrics")); err != nil {
			t.Error(err)
		}
		for _, path := range []string{"models/" + long + "n", "models/.new/" + long + "n", "sessions/" + long + "n"} {
			if out, err := d.shellAs(m.uid, "mkdir "+d.at(path)); err == nil || !strings.Contains(err.Error(), "File name too long") {
				t.Errorf("mkdir of 256 bytes: %v %s", err, out)
			}
		}
		d.shell("rm -rf " + d.at("models/*new*") + " " + d.at("models/.new") + " " + d.at("models/n*") + " " + d.at("models/-n") + " " + d.at("models/%41") + " '" + d.at("models/a b") + "' '" + d.at("models/\xff\xfe") + "'")
		d.nothingWritten()
	})
}

// TestWaitForSeal: who waits for a file that is never sealed can be interrupted, and is
// told when the name goes, however it goes.
func TestWaitForSeal(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		dir := d.at("models/mine")
		for _, end := range []string{"rm", "rename over", "killed", "interrupt"} {
			d.shell("mkdir " + dir)
			path := filepath.Join(dir, "w.safetensors")
			writer := startReader(t, m.uid)
			must(call[WriterArgs, int](writer, "WriteMapped", WriterArgs{path, make([]byte, 8192)}))(t)
			s := d.startSleeper(t, path)
			if s.over(30e6) {
				t.Fatalf("%s: an open did not wait: %s", end, s.out.String())
			}
			switch end {
			case "rm":
				d.shell("rm " + path)
			case "rename over":
				d.shell(fmt.Sprintf("echo new >%[1]s/.new && mv -f %[1]s/.new %[2]s", dir, path))
			case "killed":
				writer.kill()
			case "interrupt":
				s.cmd.Process.Signal(os.Interrupt)
			}
			if !s.over(patience) {
				t.Errorf("%s: the open still waits", end)
			}
			writer.kill()
			d.shell("rm -rf " + dir)
		}
		d.nothingWritten()
	})
}

// TestSealOfHeirs: a child that inherited a mapping for writing, and one that was only
// for reading until mprotect, keep a file from being sealed.
func TestSealOfHeirs(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		d.shell("mkdir " + d.at("models/mine"))
		path := d.at("models/mine/w.safetensors")
		script := `
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
os.ftruncate(fd, 8192)
m = mmap.mmap(fd, 8192, mmap.MAP_SHARED, mmap.PROT_READ)
os.close(fd)
if os.fork():
    os._exit(0)
time.sleep(0.6)
`
		file := filepath.Join(p.folder("scripts"), "heir.py")
		if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
			t.Fatal(err)
		}
		d.shell("python3 " + file + " " + path + " >/dev/null 2>&1 </dev/null")
		if _, err := d.open(path, unix.O_RDONLY|unix.O_NONBLOCK); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("while the child has it: %v, want EAGAIN", err)
		}
		if got := must(d.read(path))(t); len(got) != 8192 {
			t.Errorf("%d bytes", len(got))
		}
	}, normal, noPassthrough)
}
