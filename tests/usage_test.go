// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestDu: du prints the memory in use, at every step between nothing, a part and
// nothing again, as status.json and the tmpfs itself do; and df prints the budget
// and what is free of it.
// The control is built in: what du must print is another number at every step.
func TestDu(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const budget = 96 << 20
		p := newPlace(t, m)
		sizes := map[string]int{"a": 8 << 20, "b": 3<<20 + 12345, "c": 40_000, "d": 5000}
		for name, size := range sizes {
			p.write(name+"/model.safetensors", weights.Single(uint64(size), size))
			p.write(name+"/config.json", []byte("{}"))
		}
		d := p.start("--memory", fmt.Sprint(budget))
		start, tmpfs := d.tmpfsUsed()
		check := func(step string, models ...string) {
			t.Helper()
			least := int64(0)
			for _, name := range models {
				least += int64(sizes[name])
			}
			resident := d.status().Memory.Resident
			if resident < least || resident > least+int64(len(models))*4096+64<<10 {
				t.Errorf("%s: resident_bytes is %d, the files have %d", step, resident, least)
			}
			var got int64
			for range 20 { // the kernel hears of an eviction a moment after it
				if got = d.du("models") + d.du("tensors"); got == resident {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if got != resident {
				t.Errorf("%s: du prints %d, resident_bytes is %d", step, got, resident)
			}
			if now, _ := d.tmpfsUsed(); tmpfs && (now-start < resident || now-start > resident+64<<10) {
				t.Errorf("%s: the tmpfs has %d bytes more than at first, resident_bytes is %d", step, now-start, resident)
			}
			st := must(d.statfs(d.mount))(t)
			if total, free := int64(st.Blocks)*st.Bsize, int64(st.Bavail)*st.Bsize; total != budget || free != budget-resident {
				t.Errorf("%s: df shows %d and %d free, want %d and %d", step, total, free, budget, budget-resident)
			}
		}
		check("nothing")
		for _, name := range []string{"a", "c"} {
			must(d.read(d.model(name, "model.safetensors")))(t)
		}
		check("two of four", "a", "c")
		must(d.read(d.model("b/model.safetensors")))(t)
		must(d.read(d.model("d/model.safetensors")))(t)
		check("all", "a", "b", "c", "d")
		if apparent := d.shell("du -s --apparent-size -B1 " + d.model("a/model.safetensors")); !strings.HasPrefix(apparent, fmt.Sprint(sizes["a"], "\t")) {
			t.Errorf("du --apparent-size prints %q, want %d", apparent, sizes["a"])
		}
		must(d.read(d.at("tensors/d/weight")))(t)
		if got, want := d.du("models")+d.du("tensors"), d.status().Memory.Resident; got != want {
			t.Errorf("with a tensor: du prints %d, resident_bytes is %d", got, want)
		}
		for _, name := range []string{"a", "d"} {
			if _, stderr, code := d.run("evict", name); code != 0 {
				t.Errorf("evict %s: %s", name, stderr)
			}
		}
		check("two evicted", "b", "c")
		d.run("evict", "--all")
		check("all evicted")
	})
}

// du is what du(1) prints, in bytes.
func (d *daemon) du(folder string) (n int64) {
	d.t.Helper()
	out := d.shell("du -s -B1 " + d.at(folder))
	if _, err := fmt.Sscan(out, &n); err != nil {
		d.t.Fatalf("du prints %q", out)
	}
	return n
}

// TestStat: what stat shows of each kind of entry, before and after a load.
// The control: the times of origin and load are far apart, so that one cannot be
// taken for the other.
func TestStat(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const size = 3<<20 + 77
		old := time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)
		p := newPlace(t, m)
		files := []string{p.write("m/model.safetensors", weights.Single(1, size)), p.write("m/config.json", []byte("{}"))}
		for _, f := range files {
			if err := errors.Join(os.Chtimes(f, old, old), os.Chmod(f, 0o640)); err != nil {
				t.Fatal(err)
			}
		}
		d := p.start()
		st := must(d.stat(d.model("m/model.safetensors")))(t)
		if st.Mode != unix.S_IFREG|0o640 || st.Nlink != 1 || st.Size != size || st.Blocks != 0 || int(st.Uid) != m.uid {
			t.Errorf("not loaded: mode %o, nlink %d, size %d, blocks %d, uid %d", st.Mode, st.Nlink, st.Size, st.Blocks, st.Uid)
		}
		if st.Mtim.Sec != old.Unix() {
			t.Errorf("mtime is %d, not the origin's %d", st.Mtim.Sec, old.Unix())
		}
		inode := st.Ino
		before := time.Now()
		must(d.read(d.model("m/model.safetensors")))(t)
		eventually(t, patience, "stat shows the blocks", func() bool {
			st = must(d.stat(d.model("m/model.safetensors")))(t)
			return st.Blocks > 0
		})
		if st.Blocks*512 < size || st.Blocks*512 > size+64<<10 || st.Size != size {
			t.Errorf("loaded: %d blocks of a size of %d", st.Blocks, st.Size)
		}
		if used := time.Unix(st.Atim.Unix()); used.Before(before.Add(-time.Minute)) || used.After(time.Now().Add(time.Second)) {
			t.Errorf("atime is %v, it was opened at %v", used, before)
		}
		if st.Mtim.Sec != old.Unix() || st.Ino != inode {
			t.Errorf("a load changed mtime to %d, or the inode from %x to %x", st.Mtim.Sec, inode, st.Ino)
		}
		for path, mode := range map[string]uint32{
			"models/m/config.json": unix.S_IFREG | 0o640, "tensors/m/index.json": unix.S_IFREG | 0o640, "tensors/m/%index": unix.S_IFREG | 0o640,
			"tensors/m/weight": unix.S_IFREG | 0o640, "tensors/m/weight.npy": unix.S_IFREG | 0o640,
			"models/m": unix.S_IFDIR | 0o755, "tensors/m": unix.S_IFDIR | 0o750, "models": unix.S_IFDIR | 0o755,
			".modelfs/status.json": unix.S_IFREG | 0o444,
		} {
			st := must(d.stat(d.at(path)))(t)
			if st.Mode != mode || st.Blocks != 0 || mode&unix.S_IFREG != 0 && st.Nlink != 1 {
				t.Errorf("%s: mode %o, nlink %d, blocks %d; want mode %o, nothing resident", path, st.Mode, st.Nlink, st.Blocks, mode)
			}
		}
		text := must(d.read(d.at("tensors/m/index.json")))(t)
		if st := must(d.stat(d.at("tensors/m/index.json")))(t); st.Size != int64(len(text)) {
			t.Errorf("index.json has %d bytes, stat says %d", len(text), st.Size)
		}
		if names := must(d.list(d.at("tensors/m")))(t); slices.Contains(names, "%index") {
			t.Errorf("tensors/m lists %q: %%index is for programs", names)
		}
		if st := must(d.stat(d.at("tensors/m/weight.npy")))(t); st.Size != 4096+size-128 {
			t.Errorf("weight.npy: stat says %d bytes", st.Size)
		}
	})
}
