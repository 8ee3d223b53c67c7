// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestOriginReplaced: when a weight file is replaced on disk, the next open has the
// new bytes, and who has the old ones keeps them, whole, by mapping and by
// descriptor; what only they keep is counted until they let go.
// The control: the contents differ in every page.
func TestOriginReplaced(t *testing.T) {
	for _, how := range []string{"renamed over", "written in place"} {
		t.Run(how, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				before, after := weights.Single(1, 3*small), weights.Single(2, 2*small+500)
				p := newPlace(t, m)
				p.write("m/model.safetensors", before)
				d := p.start()
				path := d.model("m/model.safetensors")
				old := startReader(t, m.uid)
				id := must(old.attach(path))(t)
				fd := must(old.open(path, unix.O_RDONLY))(t)
				tensor := must(old.attach(d.at("tensors/m/weight")))(t)
				generation := d.index("m").Generation

				if how == "renamed over" {
					p.write("m/.new", after)
					if err := os.Rename(filepath.Join(p.models, "m/.new"), filepath.Join(p.models, "m/model.safetensors")); err != nil {
						t.Fatal(err)
					}
				} else {
					p.write("m/model.safetensors", after)
				}

				if got := must(d.read(path))(t); digest(got) != digest(after) {
					t.Error("the next open has the old bytes, or others")
				}
				if got, err := d.read(d.at("tensors/m/weight")); err != nil || digest(got) != digest(after[128:]) {
					t.Errorf("the next open of the tensor has the old bytes, or others (%v)", err)
				}
				if got := must(d.stat(path))(t); got.Size != int64(len(after)) {
					t.Errorf("stat shows the size %d, want %d", got.Size, len(after))
				}
				if ix := d.index("m"); ix.Generation == generation || ix.Tensors[0].NBytes != int64(len(after)-128) {
					t.Errorf("index.json is of the old generation, the tensor in it has %d bytes", ix.Tensors[0].NBytes)
				}
				if sum := must(old.sum(id))(t); sum != digest(before) {
					t.Error("the old mapping shows other bytes")
				}
				if sum := must(old.sum(tensor))(t); sum != digest(before[128:]) {
					t.Error("the old mapping of the tensor shows other bytes")
				}
				if how == "renamed over" {
					time.Sleep(1100 * time.Millisecond) // the kernel asks for attributes again
				}
				if got := must(old.pread(fd, 0, len(before)))(t); digest(got) != digest(before) {
					t.Error("the old descriptor reads other bytes")
				}
				if got := must(call[int, unix.Stat_t](old, "Fstat", fd))(t); got.Size != int64(len(before)) {
					t.Errorf("fstat of the old descriptor shows %d bytes, want %d", got.Size, len(before))
				}
				most := int64(2*len(before) + 8192)
				if n := d.status().Memory.MappedAfterEviction; n < int64(2*len(before)-128) || n > most {
					t.Errorf("mapped_after_eviction_bytes is %d for a file and a tensor of %d", n, len(before))
				}
				old.kill()
				eventually(t, patience, "what nobody has any more is freed", func() bool {
					return d.status().Memory.MappedAfterEviction == 0
				})
				if got := must(d.read(path))(t); digest(got) != digest(after) {
					t.Error("the new bytes went with the old ones")
				}
			})
		})
	}
}

// TestOriginChangesDuringLoad: the open that waited fails with EIO, nothing
// half-read is shown, and the next open loads what is there then.
// The control: without the change the same open succeeds.
func TestOriginChangesDuringLoad(t *testing.T) {
	old := weights.Single(1, 2*small)
	for how, changed := range map[string][]byte{
		"unchanged": nil, "rewritten": weights.Single(2, 2*small), "shrunk": weights.Single(3, small/2), "grown": weights.Single(4, 3*small),
		"emptied": {},
	} {
		t.Run(how, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				p := newPlace(t, m)
				file := p.slow().Add("m/model.safetensors", old)
				d := p.start()
				path := d.model("m/model.safetensors")
				must(d.stat(path))(t)
				file.Hold()
				opened := make(chan error)
				go func() {
					fd, err := d.open(path, unix.O_RDONLY)
					if err == nil {
						err = d.close(fd)
					}
					opened <- err
				}()
				eventually(t, patience, "the load reads", func() bool { return file.Waiting() > 0 })
				want := old
				if changed != nil {
					file.Replace(changed)
					want = changed
				}
				file.Release()
				if err := <-opened; changed == nil && err != nil || changed != nil && !errors.Is(err, unix.EIO) {
					t.Errorf("the open that waited: %v, want EIO where the origin changed", err)
				}
				if got := must(d.read(path))(t); digest(got) != digest(want) {
					t.Errorf("the next open has %d bytes, and not those of the origin", len(got))
				}
				s := d.status()
				if failures := s.Counters.LoadFailures; (failures > 0) != (changed != nil) {
					t.Errorf("%d failed loads", failures)
				}
				if of := s.of(t, "m"); of.State != "resident" || of.Error != nil {
					t.Errorf("the model is %s (%v) after it was loaded", of.State, of.Error)
				}
				if now := s.Memory.Resident; now > int64(len(want))+4096 {
					t.Errorf("%d bytes are resident, the file has %d", now, len(want))
				}
			})
		})
	}
}

// TestModelsComeAndGo: a model that appears on disk appears in the mount, one that
// is removed goes; who has it mapped keeps it, and its memory can be freed.
func TestModelsComeAndGo(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("stays", "goes")
		d := p.start()
		must(d.list(d.model()))(t)
		if _, err := d.stat(d.model("new")); !errors.Is(err, unix.ENOENT) {
			t.Errorf("a model that is not there: %v, want ENOENT", err)
		}
		id := must(d.attach(d.model("goes/model.safetensors")))(t)
		p.writeModels("new")
		if err := os.RemoveAll(filepath.Join(p.models, "goes")); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "the list is current", func() bool {
			return slices.Equal(must(d.list(d.model()))(t), []string{"new", "stays"})
		})
		if got := must(d.read(d.model("new/model.safetensors")))(t); digest(got) != digest(weights.Single('n', small)) {
			t.Error("the new model has other bytes")
		}
		eventually(t, patience, "the old model cannot be opened", func() bool {
			_, err := d.open(d.model("goes/model.safetensors"), unix.O_RDONLY)
			return errors.Is(err, unix.ENOENT)
		})
		if sum := must(d.sum(id))(t); sum != digest(weights.Single('g', small)) {
			t.Error("the mapping of the removed model shows other bytes")
		}
		if err := d.unmap(id); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := d.run("evict", "--all"); code != 0 {
			t.Error(stderr)
		}
		eventually(t, patience, "no memory is left", func() bool {
			return d.status().Memory.Resident+d.status().Memory.MappedAfterEviction == 0
		})
		if strings.Contains(d.log.String(), "level=ERROR") {
			t.Errorf("the log has errors:\n%s", d.log)
		}
	})
}

// TestGoneIsFreed: what is removed or renamed on disk, a model or a weight file of one,
// is let go of when somebody looks: du and status agree again. Who has it mapped keeps
// it, counted as such.
// The control: before, it is resident.
func TestGoneIsFreed(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("stays", "goes", "moves", "mapped")
		p.write("stays/second.gguf", weights.Single(1, small))
		d := p.start()
		for _, name := range []string{"goes", "moves", "stays"} {
			d.use(name)
		}
		must(d.read(d.model("stays/second.gguf")))(t)
		must(d.read(d.at("tensors/goes/weight")))(t)
		id := must(d.attach(d.model("mapped/model.safetensors")))(t)
		stays := int64(0)
		if before := d.status().Memory; before.Resident < 5*small || before.MappedAfterEviction != 0 {
			t.Fatalf("the control: %+v", before)
		}
		on := func(name string) string { return filepath.Join(p.models, name) }
		if err := errors.Join(os.RemoveAll(on("goes")), os.RemoveAll(on("mapped")), os.Rename(on("moves"), on("moved")), os.Remove(on("stays/second.gguf"))); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "what is gone is freed", func() bool {
			s := d.status()
			stays = s.Memory.Resident
			return stays < 2*small && s.Memory.MappedAfterEviction >= small
		})
		eventually(t, patience, "du prints what is resident", func() bool { return d.du("models")+d.du("tensors") == stays })
		if sum := must(d.sum(id))(t); sum != digest(weights.Single('m', small)) {
			t.Error("the mapping of the removed model shows other bytes")
		}
		if err := d.unmap(id); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "the mapped one is freed", func() bool { return d.status().Memory.MappedAfterEviction == 0 })
		d.wantResidents("afterwards", "stays")
	})
}
