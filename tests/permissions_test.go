// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// Two users that no system has, each with a group of the same number.
const alice, bob = 61001, 61002

// guarded are models with the permissions that they have on disk, and who of the
// two may read them there. The weight file of each has a tensor of a telling name.
var guarded = []struct {
	name                 string
	uid, gid             int
	folder, file         os.FileMode
	alice, bob, seeNames bool // seeNames: others may list the model's folder on disk
}{
	{"public", 0, 0, 0o755, 0o644, true, true, true},
	{"file0600", 0, 0, 0o755, 0o600, false, false, true},
	{"folder0700", 0, 0, 0o700, 0o644, false, false, false},
	{"folder0711", 0, 0, 0o711, 0o644, true, true, false}, // passed, not listed
	{"private/below", 0, 0, 0o755, 0o644, false, false, false},
	{"alices", alice, alice, 0o700, 0o600, true, false, false},
	{"bobsgroup", 0, bob, 0o755, 0o640, false, true, true},
	{"notbobs", bob, bob, 0o755, 0o044, true, false, true}, // the owner is denied, others are not
	{"above", 0, 0, 0o755, 0o644, false, false, false},     // its source lies in a folder of 0700
}

// writeGuarded writes the models and returns the two sources.
func (p *place) writeGuarded() []string {
	p.t.Helper()
	other := filepath.Join(p.folder("hidden"), "src")
	for i, g := range guarded {
		top := p.models
		if g.name == "above" {
			top = other
		}
		dir := filepath.Join(top, g.name)
		file := filepath.Join(dir, "model.safetensors")
		content := weights.Safetensors(weights.Bytes("tensor-of-"+filepath.Base(g.name), uint64(i), 9000))
		err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(file, content, 0o600),
			os.Chown(file, g.uid, g.gid), os.Chown(dir, g.uid, g.gid), os.Chmod(file, g.file), os.Chmod(dir, g.folder))
		if err != nil {
			p.t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(p.models, "private"), 0o700), os.Chmod(filepath.Join(p.dir, "hidden"), 0o700)); err != nil {
		p.t.Fatal(err)
	}
	return []string{p.models, other}
}

// TestOtherUsers: with --allow-other a user reads through the mount what he may
// read on disk, and nothing else, be it a weight file, a tensor, index.json or a
// line of status.json; also when it is resident and somebody else has it open.
// The controls: what each may read on disk is tried there as well, and root reads
// all of it.
func TestOtherUsers(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		sources := p.writeGuarded()
		d := p.start("--allow-other", "--models", filepath.Join(p.dir, "hidden/src"))
		for _, g := range guarded {
			must(d.attach(d.model(g.name, "model.safetensors")))(t)
			must(d.attach(d.at("tensors", g.name, "tensor-of-"+filepath.Base(g.name))))(t)
		}
		for _, uid := range []int{alice, bob} {
			r := startReader(t, uid)
			seen := d.statusSeenBy(r)
			for _, g := range guarded {
				may := g.alice && uid == alice || g.bob && uid == bob
				source := sources[0]
				if g.name == "above" {
					source = sources[1]
				}
				if _, err := r.read(filepath.Join(source, g.name, "model.safetensors")); (err == nil) != may {
					t.Fatalf("the control: uid %d reads %s on disk: %v", uid, g.name, err)
				}
				d.checkReads(t, r, uid, g.name, may)
				listed := slices.ContainsFunc(seen.Models, func(s modelStatus) bool { return s.Name == g.name })
				if listed && !may && !g.seeNames {
					t.Errorf("uid %d sees %s in status.json", uid, g.name)
				}
				if g.name == "public" && !listed {
					t.Errorf("uid %d does not see %s in status.json", uid, g.name)
				}
			}
		}
	}, normal, noPassthrough)
}

// TestFoldersOfNames: a folder of names, the "org" of "org/model", has owner and mode of
// the folder on disk, in models/ and tensors/: who may not list that may not list this.
// Where several sources have it, all of them must allow it.
// The controls: on disk the same is refused, what is open there is open here, and root
// sees all.
func TestFoldersOfNames(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("open/a", "closed/b", "hers/c", "deep/open/d", "both/e")
		p.write("second/both/f/model.safetensors", weights.Single(1, small))
		p.write("hub/models--hub--g/snapshots/r/model.safetensors", weights.Single(1, small))
		first, second := p.models, filepath.Join(p.dir, "second")
		if err := errors.Join(os.Rename(filepath.Join(p.models, "second"), second), os.Rename(filepath.Join(p.models, "hub"), filepath.Join(p.dir, "hub")),
			os.Chmod(filepath.Join(first, "closed"), 0o700), os.Chmod(filepath.Join(first, "deep"), 0o711), os.Chmod(filepath.Join(second, "both"), 0o700),
			os.Chown(filepath.Join(first, "hers"), alice, alice), os.Chmod(filepath.Join(first, "hers"), 0o750)); err != nil {
			t.Fatal(err)
		}
		d := p.start("--allow-other", "--models", second, "--models", filepath.Join(p.dir, "hub"))
		a, b := startReader(t, alice), startReader(t, bob)
		for _, c := range []struct {
			name       string
			alice, bob bool
		}{{"open", true, true}, {"closed", false, false}, {"hers", true, false}, {"deep", false, false}, {"deep/open", true, true}, {"both", false, false}, {"hub", true, true}} {
			for _, side := range []string{"models", "tensors"} {
				for r, may := range map[*reader]bool{a: c.alice, b: c.bob} {
					if _, err := r.list(d.at(side, c.name)); may && err != nil || !may && !errors.Is(err, unix.EACCES) {
						t.Errorf("%s/%s: %v; may he: %v", side, c.name, err, may)
					}
					if _, err := r.list(filepath.Join(first, c.name)); c.name != "both" && c.name != "hub" && (err == nil) != may {
						t.Errorf("the control: %s on disk: %v; may he: %v", c.name, err, may)
					}
				}
				must(d.list(d.at(side, c.name)))(t)
			}
		}
		if st := must(d.stat(d.model("hers")))(t); st.Uid != alice || st.Gid != alice || st.Mode != unix.S_IFDIR|0o750 {
			t.Errorf("hers is shown as %d:%d %o", st.Uid, st.Gid, st.Mode)
		}
		if err := os.Chmod(filepath.Join(first, "open"), 0o700); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "what is closed on disk is closed", func() bool {
			_, err := b.list(d.model("open"))
			return errors.Is(err, unix.EACCES)
		})
	}, normal, noPassthrough)
}

// checkReads tries to get at a model's bytes and at what its header says.
func (d *daemon) checkReads(t *testing.T, r *reader, uid int, model string, may bool) {
	t.Helper()
	tensor := "tensor-of-" + filepath.Base(model)
	for _, path := range []string{
		d.model(model, "model.safetensors"), d.at("tensors", model, "index.json"), d.at("tensors", model, "%index"),
		d.at("tensors", model, tensor), d.at("tensors", model, tensor+".npy"),
	} {
		_, err := r.read(path)
		if may && err != nil || !may && !errors.Is(err, unix.EACCES) {
			t.Errorf("uid %d reads %s: %v; may he: %v", uid, strings.TrimPrefix(path, d.mount), err, may)
		}
	}
	names, err := r.list(d.at("tensors", model))
	if !may && slices.Contains(names, tensor) {
		t.Errorf("uid %d may not read the weight file of %s, and sees the names of its tensors (%v)", uid, model, err)
	}
}

// TestErrorsTellNothing: what is wrong with a file that a user may not read is not
// told him, since errors quote the file.
// What he is told is that he may not read it.
// The control: root is told.
func TestErrorsTellNothing(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		const secret = "project-unannounced"
		wrong := weights.Framed(`{"` + secret + `":{"dtype":"U8","shape":[5],"data_offsets":[0,4]}}`)
		if err := os.Chmod(p.write("m/model.safetensors", append(wrong, 0, 0, 0, 0)), 0o600); err != nil {
			t.Fatal(err)
		}
		d := p.start("--allow-other")
		if text := must(d.get(d.model("m"), "error"))(t); !strings.Contains(text, secret) {
			t.Errorf("the control: root is told %q", text)
		}
		r := startReader(t, alice)
		for where, get := range map[string]func() (string, error){
			"the model's attribute": func() (string, error) { return r.get(d.model("m"), "error") },
			"the folder's":          func() (string, error) { return r.get(d.at("tensors/m"), "error") },
			"index.json":            func() (string, error) { b, err := r.read(d.at("tensors/m/index.json")); return string(b), err },
			"status.json":           func() (string, error) { b, err := r.read(d.at(".modelfs/status.json")); return string(b), err },
		} {
			if text, _ := get(); strings.Contains(text, secret) {
				t.Errorf("another user learns a tensor's name from %s", where)
			}
		}
		for _, args := range [][]string{{"inspect", "m"}, {"inspect", "m/model.safetensors"}, {"load", "m/model.safetensors"}} {
			if _, stderr, code := d.runAs(alice, args...); code != 1 || !strings.Contains(stderr, "permission denied") || strings.Contains(stderr, "allow-other") {
				t.Errorf("%v by another user exits %d: %s", args, code, stderr)
			}
		}
	}, normal)
}

// TestOthersMayNotAct: another user can neither evict nor pin what is not his, nor
// see who else uses it where he may not see the model.
// The control: root's own commands, the same, succeed.
func TestOthersMayNotAct(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeGuarded()
		d := p.start("--allow-other")
		d.use("public")
		d.use("folder0700")
		keep := must(d.open(d.model("folder0700/model.safetensors"), unix.O_RDONLY))(t)
		for _, args := range [][]string{{"evict", "public"}, {"evict", "--all"}, {"evict", "--idle"}, {"pin", "public"}} {
			if _, stderr, code := d.runAs(alice, args...); code != 1 || stderr == "" {
				t.Errorf("%v by another user exits %d: %s", args, code, stderr)
			}
		}
		d.wantResidents("afterwards", "folder0700 public")
		for _, args := range [][]string{{"ls"}, {"ls", "--json"}, {"ps", "--json"}, {"status", "--json"}} {
			out, stderr, code := d.runAs(alice, args...)
			if code != 0 || strings.Contains(out, "folder0700") {
				t.Errorf("%v by another user exits %d, or shows what he may not see:\n%s%s", args, code, out, stderr)
			}
		}
		out, _, _ := d.run("ps", "--json")
		var uses []struct {
			PID   int    `json:"pid"`
			Model string `json:"model"`
		}
		if err := json.Unmarshal([]byte(out), &uses); err != nil || len(uses) != 1 || uses[0].PID != d.pid() || uses[0].Model != "folder0700" {
			t.Errorf("the control: root's ps shows %s (%v)", out, err)
		}
		if err := d.close(keep); err != nil {
			t.Error(err)
		}
		for _, args := range [][]string{{"pin", "public"}, {"unpin", "public"}, {"evict", "public"}, {"evict", "--all"}} {
			if _, stderr, code := d.run(args...); code != 0 {
				t.Errorf("the control: %v by root exits %d: %s", args, code, stderr)
			}
		}
	}, normal)
}

// TestOthersMayNotLoad: who may not read a model's files cannot load it, by no way: that
// would push out other people's models.
// The control: who may read it, and root, load it in the same ways.
func TestOthersMayNotLoad(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeGuarded()
		shards := map[string][]weights.Tensor{"open.safetensors": {weights.Bytes("x", 1, 9000)}, "closed.safetensors": {weights.Bytes("y", 2, 9000)}}
		for name, ts := range shards {
			p.write("shards/"+name, weights.Safetensors(ts...))
		}
		p.write("shards/model.safetensors.index.json", weights.Shards(shards))
		if err := os.Chmod(filepath.Join(p.models, "shards/closed.safetensors"), 0o600); err != nil {
			t.Fatal(err)
		}
		d := p.start("--allow-other")
		r, own := startReader(t, bob), d.reader

		for _, name := range []string{"file0600", "notbobs", "shards"} {
			if state, err := r.get(d.model(name), "wait"); !errors.Is(err, unix.EACCES) {
				t.Errorf("%s: wait says %q, %v, want EACCES", name, state, err)
			}
			if _, stderr, code := d.runAs(bob, "load", name); code != 1 || !strings.Contains(stderr, "permission denied") {
				t.Errorf("load %s by another user exits %d: %s", name, code, stderr)
			}
			must(r.open(d.model(name), folderFlags))(t)
		}
		must(r.read(d.model("shards/open.safetensors")))(t)
		leased := must(r.open(d.model("bobsgroup"), folderFlags))(t)
		eventually(t, patience, "the control: a lease of who may read it", func() bool { return d.resident("bobsgroup") })
		for _, name := range []string{"file0600", "notbobs", "shards"} { // their leases were due before
			if s := d.status().of(t, name); s.State != "absent" || s.Refs != 0 {
				t.Errorf("%s is %s and has %d references", name, s.State, s.Refs)
			}
			if state, err := own.get(d.model(name), "wait"); err != nil || state != "resident" {
				t.Errorf("the control: %s by root: %s, %v", name, state, err)
			}
		}
		if state, err := r.get(d.model("public"), "wait"); err != nil || state != "resident" {
			t.Errorf("the control: wait for what is his to read: %s, %v", state, err)
		}
		if err := r.close(leased); err != nil {
			t.Error(err)
		}
	}, normal, noPassthrough)
}

// TestOwnerActs: who mounted evicts and pins models whose files he may only read.
// The control: on their folders' attributes, as anybody may who may write them, he cannot.
func TestOwnerActs(t *testing.T) {
	p := newPlace(t, unprivileged)
	p.writeModels("org/a", "b")
	for _, name := range []string{"org", "org/a", "org/a/model.safetensors", "b", "b/model.safetensors"} {
		if err := os.Chown(filepath.Join(p.models, name), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	d := p.start()
	d.use("org/a")
	d.use("b")
	if err := d.set(d.model("org/a"), "pinned", "1"); !errors.Is(err, unix.EACCES) {
		t.Errorf("the control: %v, want EACCES", err)
	}
	if _, stderr, code := d.run("pin", "org/a"); code != 0 {
		t.Errorf("pin: %s", stderr)
	}
	if got := must(d.get(d.model("org/a"), "pinned"))(t); got != "1" {
		t.Errorf("pinned is %q", got)
	}
	if _, stderr, code := d.run("evict", "org/a"); code != 1 || !strings.Contains(stderr, "pinned") {
		t.Errorf("evict of a pinned one exits %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"unpin", "org/a"}, {"evict", "org/a"}} {
		if _, stderr, code := d.run(args...); code != 0 {
			t.Errorf("%v: %s", args, stderr)
		}
	}
	d.wantResidents("afterwards", "b")
	if err := d.set(d.model(), "ttl", "0.01:b"); err != nil {
		t.Error(err)
	}
	eventually(t, patience, "its time is over", func() bool { return d.status().Memory.Resident == 0 })
	if err := d.set(d.model(), "evict", "1:none"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a model that is not there: %v, want ENOENT", err)
	}
}

// TestOthersStayOut: without --allow-other nobody but the mount's user comes in,
// not even to what everybody may read.
// The control: TestOtherUsers, where they do.
func TestOthersStayOut(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		r := startReader(t, alice)
		for _, path := range []string{d.mount, d.model("a/model.safetensors"), d.at("tensors/a/weight"), d.at(".modelfs/status.json")} {
			if _, err := r.stat(path); !errors.Is(err, unix.EACCES) {
				t.Errorf("stat of %s: %v, want EACCES", path, err)
			}
			if _, err := r.open(path, unix.O_RDONLY); !errors.Is(err, unix.EACCES) {
				t.Errorf("open of %s: %v, want EACCES", path, err)
			}
		}
	})
}

// TestSharedFolders: with --allow-other models/ is 1777, without it is 0755.
func TestSharedFolders(t *testing.T) {
	for _, args := range [][]string{nil, {"--allow-other"}} {
		p := newPlace(t, normal)
		d := p.start(args...)
		want := uint32(unix.S_IFDIR | 0o755)
		if args != nil {
			want = unix.S_IFDIR | 0o1777
		}
		if st := must(d.stat(d.model()))(t); st.Mode != want {
			t.Errorf("%v: models/ has the mode %o, want %o", args, st.Mode, want)
		}
	}
}
