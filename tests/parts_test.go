// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestPublishedInParts: a pipeline's weights arrive before the file that makes them one
// model, which they are from then on: in memory once, counted once, evicted together.
// The file goes first, and they are models of their own again.
func TestPublishedInParts(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		unet, vae := weights.Single(1, small), weights.Single(2, small)
		one, two, index := p.write("x/unet", unet), p.write("x/vae", vae), p.write("x/index", []byte("{}"))
		d := p.start()
		pipe := d.at("models/pipe")
		d.shell(fmt.Sprintf("mkdir -p %[1]s/unet %[1]s/vae && cp %[2]s %[1]s/unet/u.safetensors && cp %[3]s %[1]s/vae/v.safetensors", pipe, one, two))
		eventually(t, patience, "both are models", func() bool { s := d.status(); return s.has("pipe/unet") && s.has("pipe/vae") })
		id := must(d.attach(filepath.Join(pipe, "unet/u.safetensors")))(t)
		resident := d.status().Memory.Resident
		must(d.read(d.at("tensors/pipe/unet/weight")))(t)
		d.shell(fmt.Sprintf("cp %s %s/model_index.json", index, pipe))
		eventually(t, patience, "they are one model", func() bool {
			s := d.status()
			return s.has("pipe") && !s.has("pipe/unet") && s.of(t, "pipe").ResidentBytes == resident
		})
		for file, want := range map[string][]byte{"unet/u.safetensors": unet, "vae/v.safetensors": vae} {
			if got := must(d.read(filepath.Join(pipe, file)))(t); !bytes.Equal(got, want) {
				t.Errorf("%s has other bytes", file)
			}
		}
		if _, stderr, code := d.run("load", "pipe/unet/u.safetensors"); code != 0 {
			t.Errorf("load: %s", stderr)
		}
		if s := d.status(); s.Memory.Resident != resident {
			t.Errorf("%d bytes are resident, %d before", s.Memory.Resident, resident)
		}
		d.shell("rm " + pipe + "/model_index.json")
		eventually(t, patience, "they are two", func() bool { s := d.status(); return s.has("pipe/unet") && s.has("pipe/vae") && !s.has("pipe") })
		d.shell(fmt.Sprintf("cp %s %s/config.json", index, pipe))
		eventually(t, patience, "they are one again", func() bool { return d.status().has("pipe") })
		if _, _, code := d.run("evict", "pipe"); code != 1 {
			t.Errorf("evict of what is mapped exits %d", code)
		}
		if err := d.unmap(id); err != nil {
			t.Error(err)
		}
		if _, stderr, code := d.run("evict", "pipe"); code != 0 {
			t.Errorf("evict: %s", stderr)
		}
		eventually(t, patience, "all of it is gone", func() bool { _, err := d.stat(pipe); return errors.Is(err, os.ErrNotExist) })
		d.nothingWritten()
		if s := d.status(); s.Memory.Resident != 0 {
			t.Errorf("%d bytes are resident", s.Memory.Resident)
		}
	})
}

// TestPublishedBehindSource: a model of a source that comes later hides a published one
// of its name, and neither takes anything from the other.
func TestPublishedBehindSource(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		mine, theirs := weights.Single(1, small), weights.Single(2, small)
		from := p.write("x/one", mine)
		d := p.start()
		dir := d.at("models/twice")
		d.shell(fmt.Sprintf("mkdir %[1]s && cp %[2]s %[1]s/model.safetensors", dir, from))
		path := filepath.Join(dir, "model.safetensors")
		must(d.read(path))(t)
		p.write("twice/model.safetensors", theirs)
		eventually(t, patience, "the source's is seen", func() bool {
			s := d.status()
			return len(s.Shadowed) == 1 && s.of(t, "twice").State == "absent"
		})
		eventually(t, names+patience, "its bytes are read", func() bool {
			got, err := d.read(path)
			if err == nil && !bytes.Equal(got, mine) && !bytes.Equal(got, theirs) {
				t.Fatal("neither's bytes")
			}
			// A name lives for half a minute in the kernel; an open asks.
			return err == nil && bytes.Equal(got, theirs)
		})
		for _, line := range []string{"rm " + path, "rm -r " + dir, "rmdir " + dir, "mv " + dir + " " + d.at("models/else"), "mkdir " + dir} {
			if out, err := d.shellAs(m.uid, line); err == nil {
				t.Errorf("%s works: %s", line, out)
			}
		}
		if err := os.RemoveAll(filepath.Join(p.models, "twice")); err != nil {
			t.Fatal(err)
		}
		eventually(t, names+patience, "the published one is back", func() bool {
			d.status() // looks at the sources
			got, err := d.read(path)
			return err == nil && bytes.Equal(got, mine)
		})
		d.shell("rm -r " + dir)
		d.run("evict", "--idle") // what is left of the source's
		eventually(t, patience, "nothing is resident", func() bool { return d.status().Memory.Resident == 0 })
		d.nothingWritten()
	}, normal) // one is enough: names live for half a minute
}

// TestTooLargeToPublish: a model that does not fit is refused where it ends, and does
// not push out its own first part.
func TestTooLargeToPublish(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		one, two := p.write("x/one", weights.Single(1, 5*small)), p.write("x/two", weights.Single(2, 5*small))
		d := p.start("--memory", fmt.Sprint(8*small))
		dir := d.at("models/mine")
		d.shell(fmt.Sprintf("mkdir %[1]s && cp %[2]s %[1]s/a.safetensors", dir, one))
		if out, err := d.shellAs(m.uid, fmt.Sprintf("cp %[2]s %[1]s/b.safetensors", dir, two)); err == nil || !strings.Contains(err.Error(), "No space left") {
			t.Errorf("cp: %v %s", err, out)
		}
		if _, err := d.open(filepath.Join(dir, "a.safetensors"), unix.O_RDONLY); err != nil {
			t.Errorf("the first part: %v", err)
		}
	})
}

// TestOpenBeforeSeal: who has a temporary file open reads and looks at it on, when it is
// sealed and when it is removed.
func TestOpenBeforeSeal(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		from := p.write("x/one", weights.Single(1, small))
		d := p.start()
		dir := d.at("models/mine")
		d.shell(fmt.Sprintf("mkdir %[1]s && cp %[2]s %[1]s/.w && cp %[2]s %[1]s/.v", dir, from))
		fd := must(d.open(filepath.Join(dir, ".w"), unix.O_RDONLY))(t)
		// One that nobody has looked at since it was made: its size was 0 then.
		maker := startReader(t, m.uid)
		fresh := must(call[WriterArgs, int](maker, "WriteMapped", WriterArgs{filepath.Join(dir, "u.safetensors"), weights.Single(1, small)}))(t)
		if err := maker.unmap(fresh); err != nil {
			t.Error(err)
		}
		third := must(d.open(filepath.Join(dir, "u.safetensors"), unix.O_RDONLY))(t)
		d.shell(fmt.Sprintf("mv %[1]s/.w %[1]s/w.safetensors && mv %[1]s/.v %[1]s/v.safetensors", dir))
		other := must(d.open(filepath.Join(dir, "v.safetensors"), unix.O_RDONLY))(t)
		look := func() {
			t.Helper()
			for _, fd := range []int{fd, other, third} {
				if got := must(d.pread(fd, 4096, 4096))(t); len(got) != 4096 {
					t.Errorf("read %d bytes", len(got))
				}
				if st := must(call[int, unix.Stat_t](d.reader, "Fstat", fd))(t); st.Size < small {
					t.Errorf("size is %d", st.Size)
				}
			}
		}
		d.shell("rm -r " + dir)
		time.Sleep(1100 * time.Millisecond) // until the kernel asks again
		look()
		if err := errors.Join(d.close(fd), d.close(other), d.close(third)); err != nil {
			t.Error(err)
		}
		d.nothingWritten()
		eventually(t, patience, "nothing is resident", func() bool { return d.status().Memory.Resident == 0 })
	})
}
