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
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestOverBudgetOrigin: what has no room is served by its origin: the right bytes,
// counted, no memory taken, and with passthrough without the daemon.
// The control: as soon as there is room, the same open loads.
func TestOverBudgetOrigin(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a", "b", "c")
		huge := weights.Single(9, 4*small)
		p.write("huge/model.safetensors", huge)
		d := p.start("--memory", fmt.Sprint(2*small+small/2))
		ida := must(d.attach(d.model("a/model.safetensors")))(t)
		must(d.attach(d.model("b/model.safetensors")))(t)
		resident := d.status().Memory.Resident

		c := weights.Single('c', small)
		for path, want := range map[string][]byte{
			d.model("c/model.safetensors"): c, d.at("tensors/c/weight"): c[128:], d.model("huge/model.safetensors"): huge,
		} {
			before := d.status().Counters.FallbackOpens
			reads := d.readsDuring(func() {
				r := startReader(t, m.uid)
				if got := must(r.sum(must(r.attach(path))(t)))(t); got != digest(want) {
					t.Errorf("%s: other bytes", path)
				}
			})
			if whole := strings.HasPrefix(path, d.model()); whole && m.passes() && reads > 0 {
				t.Errorf("%s: %d READs reached the daemon", path, reads)
			}
			s := d.status()
			if s.Counters.FallbackOpens != before+1 || s.Memory.Resident != resident {
				t.Errorf("%s: %d fallbacks, %d bytes resident, want %d and %d", path, s.Counters.FallbackOpens, s.Memory.Resident, before+1, resident)
			}
		}
		if err := d.unmap(ida); err != nil {
			t.Fatal(err)
		}
		d.use("c")
		d.wantResidents("the control: with room again", "b c")
	})
}

// TestOverBudgetFail: with --over-budget fail the open fails with ENOMEM, and who
// asks why is told the sizes and who holds what.
// The control: the same open succeeds when the holder is gone.
func TestOverBudgetFail(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("wanted", "held", "kept")
		p.write("huge/model.safetensors", weights.Single(9, 4*small))
		d := p.start("--memory", fmt.Sprint(2*small+small/2), "--over-budget", "fail", "--pin", "kept")
		r := startReader(t, m.uid)
		must(r.attach(d.model("held/model.safetensors")))(t)
		d.use("kept")

		for name, wants := range map[string][]string{
			"wanted": {"wanted needs 1.0 MiB", "512 KiB of 2.5 MiB", "2 models", "held 1.0 MiB", "kept 1.0 MiB pinned"},
			"huge":   {"huge needs 4.0 MiB", "2.5 MiB", "--memory"},
		} {
			for _, path := range []string{d.model(name, "model.safetensors"), d.at("tensors", name, "weight")} {
				if _, err := d.open(path, unix.O_RDONLY); !errors.Is(err, unix.ENOMEM) {
					t.Errorf("%s: %v, want ENOMEM", path, err)
				}
			}
			_, stderr, code := d.run("load", name)
			if code != 1 {
				t.Errorf("load %s exits %d, want 1", name, code)
			}
			for _, want := range wants {
				if !strings.Contains(stderr, want) {
					t.Errorf("load %s says %q, without %q", name, stderr, want)
				}
				if !strings.Contains(d.log.String(), want) {
					t.Errorf("the log has no %q:\n%s", want, d.log)
				}
			}
			if strings.Contains(d.log.String(), `\n`) {
				t.Errorf("an error in the log has several lines:\n%s", d.log)
			}
		}
		if c := d.status().Counters; c.FallbackOpens != 0 || c.Loads != 2 {
			t.Errorf("%d opens were served by the origin, %d loads, want 0 and 2", c.FallbackOpens, c.Loads)
		}
		r.kill()
		eventually(t, patience, "there is room", func() bool {
			fd, err := d.open(d.model("wanted/model.safetensors"), unix.O_RDONLY)
			return err == nil && d.close(fd) == nil
		})
	})
}

// TestNoRoomWithoutWaiting: an open with O_NONBLOCK of what finds no room ends as one that
// waits does: the origin serves it, or it fails with ENOMEM. When there is room, it loads.
// The control: at first it gives EAGAIN, and it takes no memory.
func TestNoRoomWithoutWaiting(t *testing.T) {
	for _, over := range []string{"origin", "fail"} {
		t.Run(over, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				p := newPlace(t, m)
				p.writeModels("held", "wanted")
				huge := weights.Single(9, 4*small)
				p.write("huge/model.safetensors", huge)
				d := p.start("--memory", fmt.Sprint(small+small/2), "--over-budget", over)
				held := must(d.attach(d.model("held/model.safetensors")))(t)
				once := func(path string) (int, error) { return d.open(path, unix.O_RDONLY|unix.O_NONBLOCK) }
				for path, want := range map[string][]byte{
					d.model("huge/model.safetensors"): huge, d.at("tensors/huge/weight"): huge[128:],
					d.model("wanted/model.safetensors"): weights.Single('w', small),
				} {
					_, err := once(path)
					if !errors.Is(err, unix.EAGAIN) {
						t.Errorf("%s: at first %v, want EAGAIN", path, err)
					}
					var fd int
					eventually(t, patience, path+" is answered", func() bool {
						fd, err = once(path)
						return !errors.Is(err, unix.EAGAIN)
					})
					if over == "fail" {
						if !errors.Is(err, unix.ENOMEM) {
							t.Errorf("%s: %v, want ENOMEM", path, err)
						}
						continue
					}
					if got, err := d.pread(fd, 0, len(want)+1); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %v, or other bytes", path, err)
					}
					if err := d.close(fd); err != nil {
						t.Error(err)
					}
				}
				if s := d.status(); s.Memory.Resident > 2*small {
					t.Errorf("%d bytes are resident", s.Memory.Resident)
				}
				if err := d.unmap(held); err != nil {
					t.Fatal(err)
				}
				eventually(t, patience, "with room it loads", func() bool {
					fd, err := once(d.model("wanted/model.safetensors"))
					return err == nil && d.close(fd) == nil && d.resident("wanted")
				})
			})
		})
	}
}

// TestBudgetHolds: however many open at once, no more than the budget is ever
// taken, and who gets a file can read all of it: no SIGBUS, no wrong byte.
// The control: some are refused, so the budget was too small for all.
func TestBudgetHolds(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const models, budget = 24, 8*small + small/2
		p := newPlace(t, m)
		for i := range models {
			p.write(fmt.Sprintf("m%d/model.safetensors", i), weights.Single(uint64(i), small))
		}
		d := p.start("--memory", fmt.Sprint(budget), "--over-budget", "fail")
		empty, _ := d.tmpfsUsed()
		var running sync.WaitGroup
		refused := make([]bool, models)
		for i := range models {
			running.Go(func() {
				id, err := d.attach(d.model(fmt.Sprintf("m%d", i), "model.safetensors"))
				switch {
				case errors.Is(err, unix.ENOMEM):
					refused[i] = true
				case err != nil:
					t.Error(err)
				default:
					if sum, err := d.sum(id); err != nil || sum != digest(weights.Single(uint64(i), small)) {
						t.Errorf("model %d: %v, or other bytes", i, err)
					}
				}
			})
		}
		running.Wait()
		s := d.status()
		if s.Memory.Resident > budget || s.Memory.Resident < 7*small {
			t.Errorf("%d bytes are resident of a budget of %d", s.Memory.Resident, budget)
		}
		if used, ok := d.tmpfsUsed(); ok && used-empty > budget {
			t.Errorf("the tmpfs has %d bytes, the budget is %d", used-empty, budget)
		}
		n := 0
		for _, no := range refused {
			if no {
				n++
			}
		}
		if n != models-8 {
			t.Errorf("%d of %d were refused, the budget holds 8", n, models)
		}
	})
}

// TestCgroupLimit: a daemon in a cgroup with less memory than its budget refuses
// what does not fit, and lives: past the limit the kernel would kill it.
// The control: what does fit is loaded.
func TestCgroupLimit(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		const limit = 128 << 20
		p := newPlace(t, m)
		p.writeModels("fits")
		p.write("large/model.safetensors", weights.Single(1, 2*limit))
		d := p.start("--memory", "1GiB", "--over-budget", "fail")
		p.confine(t, d.daemonPID(), limit)
		d.use("fits")
		if _, err := d.open(d.model("large/model.safetensors"), unix.O_RDONLY); !errors.Is(err, unix.ENOMEM) {
			t.Errorf("open of what the cgroup has no room for: %v, want ENOMEM", err)
		}
		d.wantResidents("afterwards", "fits")
	}, normal, unprivileged)
}

// confine puts a process into a cgroup of its own with a limit on memory.
func (p *place) confine(t *testing.T, pid int, limit int) {
	t.Helper()
	for _, kind := range []struct{ top, limit, marker string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max", "cgroup.subtree_control"},
	} {
		if _, err := os.Stat(filepath.Join(kind.top, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(kind.top, filepath.Base(p.dir))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("no cgroup can be made: %v", err)
		}
		t.Cleanup(func() {
			// The daemon goes back, so that the cgroup can be removed now.
			_ = os.WriteFile(filepath.Join(kind.top, "cgroup.procs"), []byte(fmt.Sprint(pid)), 0)
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		err := os.WriteFile(filepath.Join(dir, kind.limit), []byte(fmt.Sprint(limit)), 0)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(fmt.Sprint(pid)), 0)
		}
		if err != nil {
			t.Skipf("no cgroup can be limited: %v", err)
		}
		return
	}
	t.Skip("no memory cgroups here")
}
