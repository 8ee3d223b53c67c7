// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// abortLater ends the FUSE connections of the place while the test takes too long: a
// daemon that waits for its own mount cannot be killed otherwise.
func (p *place) abortLater(t *testing.T) {
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(2 * patience):
				p.abort(t)
			}
		}
	})
	t.Cleanup(func() {
		close(over)
		watching.Wait()
	})
}

func (p *place) abort(t *testing.T) {
	const control = "/sys/fs/fuse/connections"
	if err := unix.Mount("none", control, "fusectl", 0, ""); err == nil { // where nobody did
		defer func() { _ = unix.Unmount(control, unix.MNT_DETACH) }()
	}
	for _, line := range mountTable(t) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.Contains(fields[4], filepath.Base(p.dir)) || !strings.Contains(line, " - fuse") {
			continue
		}
		t.Errorf("%s hangs: its connection is aborted", fields[4])
		_, minor, _ := strings.Cut(fields[2], ":")
		if err := os.WriteFile(filepath.Join(control, minor, "abort"), []byte("1"), 0); err != nil {
			t.Error(err)
		}
	}
}

// wantLeftOut sees that the log says that something was left out, when it was looked at.
func (d *daemon) wantLeftOut(path string) {
	d.t.Helper()
	eventually(d.t, patience, "the log says that "+path+" was left out", func() bool {
		d.modelNames()
		return strings.Contains(d.log.String(), "leads into this mount itself") && strings.Contains(d.log.String(), path)
	})
}

// TestMountInsideSource: a mount point below a source, or in a model, is not looked
// into; everything else of the source is there.
func TestMountInsideSource(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		for _, below := range []string{"sub/mnt", "a/mnt"} {
			p := newPlace(t, m)
			p.abortLater(t)
			p.writeModels("a", "sub/b")
			d := p.startAt(p.folder("src/"+below), "--models", p.models)
			for range 3 {
				_, _ = d.shellAs(m.uid, "ls -lR "+d.mount+" >/dev/null; find "+d.mount+" >/dev/null")
			}
			if names := d.modelNames(); !slices.Equal(names, []string{"a", "sub/b"}) {
				t.Errorf("mounted at %s: the models are %q", below, names)
			}
			d.use("a")
			d.use("sub/b")
			d.wantLeftOut(d.mount)
			if below == "a/mnt" {
				if _, err := d.stat(d.model("a/mnt")); !errors.Is(err, unix.ELOOP) {
					t.Errorf("the mount in itself: %v, want ELOOP", err)
				}
			}
		}
	}, normal, noPassthrough, unprivileged)
}

// TestLinksIntoMount: a symlink in a source that leads into the mount, straight or by
// other links, at its end or on its way, is as good as one that leads nowhere, and the
// log names it; so is a bind mount of it. Links that come into being later are no
// different, whoever asks for them at the same time.
// The control: links that lead elsewhere are followed.
func TestLinksIntoMount(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.abortLater(t)
		p.writeModels("a", "b")
		mount := filepath.Join(p.dir, "mnt")
		p.link("../a/model.safetensors", "b/good.safetensors")
		p.link(mount+"/models/a/model.safetensors", "b/straight.safetensors")
		p.link("straight.safetensors", "b/twice.safetensors")
		p.link("../../mnt/models/../models/a", "b/folder")
		p.link(mount, "top")
		d := p.start()
		for round := range 3 {
			later := fmt.Sprintf("b/later%d.safetensors", round)
			lines := []string{
				"ls -lR " + d.mount, "find " + d.mount + " -type f", "cat " + d.model("b/straight.safetensors"), "ls " + d.model("b/folder"),
				"stat " + d.model("a/model.safetensors"), "stat " + d.model(later), "cat " + d.model(later),
			}
			p.link(mount+"/models/"+later, later)
			over := make(chan struct{})
			for _, line := range lines {
				go func() {
					_, _ = d.shellAs(m.uid, line+" >/dev/null")
					over <- struct{}{}
				}()
			}
			for range lines {
				<-over
			}
		}
		if shown := must(d.walk(d.model("b")))(t); !slices.Equal(shown, []string{"good.safetensors", "model.safetensors"}) {
			t.Errorf("b holds %q", shown)
		}
		if names := d.modelNames(); !slices.Equal(names, []string{"a", "b"}) {
			t.Errorf("the models are %q", names)
		}
		if _, err := d.stat(d.model("b/straight.safetensors")); !errors.Is(err, unix.ELOOP) {
			t.Errorf("a link into the mount: %v, want ELOOP", err)
		}
		must(d.read(d.model("b/good.safetensors")))(t)
		d.wantLeftOut("b/straight.safetensors")
		d.wantLeftOut(p.models + "/top")
		if m.uid != 0 {
			return
		}
		bind := p.folder("src/c/bind")
		if err := unix.Mount(d.mount, bind, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(bind, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}()
		d.shell("ls -lR " + d.mount + " >/dev/null")
		d.wantLeftOut(bind)
		if names := d.modelNames(); !slices.Equal(names, []string{"a", "b"}) {
			t.Errorf("with a bind mount the models are %q", names)
		}
	}, normal, noPassthrough, unprivileged)
}

// TestMountHidesSource: a mount point that is a source, or above one, is refused.
// The control: the same source is mounted elsewhere.
func TestMountHidesSource(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.abortLater(t)
		p.writeModels("a")
		p.link("src", "../link")
		for _, source := range []string{p.models, filepath.Join(p.models, "a"), filepath.Join(p.models, "a/model.safetensors"), filepath.Join(p.dir, "link/a")} {
			if says := p.refused(t, p.models, 1, "--models", source); !strings.Contains(says, source) || !strings.Contains(says, "hide") {
				t.Errorf("a mount over the source %s says %q", source, says)
			}
		}
		if n := mountsAt(t, p.models); n != 0 {
			t.Errorf("%d mounts are over the source", n)
		}
		d := p.start()
		d.use("a")
	})
}

// TestSourceIsAMount: another daemon's mount is a source like any other.
func TestSourceIsAMount(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.abortLater(t)
		p.writeModels("a")
		first := p.start()
		p.link(first.mount+"/models/a/model.safetensors", "../linked/b/model.safetensors")
		second := p.startAt(p.folder("mnt2"), "--models", first.model(), "--models", filepath.Join(p.dir, "linked"))
		want := must(os.ReadFile(filepath.Join(p.models, "a/model.safetensors")))(t)
		for _, model := range []string{"a", "b"} {
			if diff := second.difference(second.model(model, "model.safetensors"), want); diff != "" {
				t.Errorf("%s: %s", model, diff)
			}
		}
	}, normal, noPassthrough, unprivileged)
}
