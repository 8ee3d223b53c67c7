// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestModelAttributes: the attributes of a model's folder before, during and after
// a load; wait loads; pinned and ttl can be set; nothing else can.
// The control: the same attributes have other values at each step.
func TestModelAttributes(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.write("m/model.safetensors", weights.Single(1, small))
		d := p.start()
		folder := d.model("m")
		check := func(when string, want map[string]string) {
			t.Helper()
			for name, value := range want {
				got, err := d.get(folder, name)
				if value == "-" && !errors.Is(err, unix.ENODATA) || value != "-" && (err != nil || got != value) {
					t.Errorf("%s: %s is %q (%v), want %s", when, name, got, err, value)
				}
			}
		}
		size := fmt.Sprint(small)
		check("at first", map[string]string{
			"state": "absent", "refs": "0", "bytes": size, "resident": "0", "pinned": "0", "ttl": "0", "error": "-", "unknown": "-",
		})
		if got := must(d.get(folder, "wait"))(t); got != "resident" {
			t.Errorf("wait returns %q, want resident", got)
		}
		id := must(d.attach(d.model("m/model.safetensors")))(t)
		check("mapped", map[string]string{"state": "resident", "refs": "1", "bytes": size, "resident": size})
		for _, set := range [][2]string{{"pinned", "1"}, {"ttl", "90"}} {
			if err := d.set(folder, set[0], set[1]); err != nil {
				t.Errorf("set %s: %v", set, err)
			}
		}
		check("set", map[string]string{"pinned": "1", "ttl": "90"})
		if s := d.status().of(t, "m"); !s.Pinned || s.TTLSeconds != 90 {
			t.Errorf("status.json says pinned %v, ttl %v", s.Pinned, s.TTLSeconds)
		}
		if err := errors.Join(d.set(folder, "pinned", "0"), d.unmap(id)); err != nil {
			t.Error(err)
		}
		if _, stderr, code := d.run("evict", "m"); code != 0 {
			t.Error(stderr)
		}
		check("evicted", map[string]string{"state": "absent", "refs": "0", "resident": "0", "pinned": "0"})

		for _, wrong := range [][2]string{{"pinned", "yes"}, {"pinned", ""}, {"ttl", "-1"}, {"ttl", "soon"}, {"ttl", "NaN"}, {"ttl", "1e99"}} {
			if err := d.set(folder, wrong[0], wrong[1]); !errors.Is(err, unix.EINVAL) {
				t.Errorf("set %q: %v, want EINVAL", wrong, err)
			}
		}
		check("after wrong ones", map[string]string{"pinned": "0", "ttl": "90"})
		for _, name := range []string{"state", "refs", "bytes", "unknown"} {
			if err := d.set(folder, name, "1"); !errors.Is(err, unix.EPERM) {
				t.Errorf("set %s: %v, want EPERM", name, err)
			}
		}
		names := must(d.attrs(folder))(t)
		slices.Sort(names)
		want := []string{"bytes", "pinned", "refs", "resident", "state", "ttl"}
		for i := range want {
			want[i] = attribute + want[i]
		}
		if !slices.Equal(names, want) {
			t.Errorf("listed are %q, want %q: wait and error are not, or do not apply", names, want)
		}
		for _, none := range []string{d.mount, d.model(), d.model("m/model.safetensors"), d.at(".modelfs")} {
			if _, err := d.get(none, "state"); !errors.Is(err, unix.ENODATA) {
				t.Errorf("%s has a state: %v, want ENODATA", none, err)
			}
		}
	})
}

// TestTensorAttributes: what the attributes of a tensor's file say is what was
// written, and none of it loads.
func TestTensorAttributes(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		f32 := weights.Tensor{Name: "w", DType: "F32", Shape: []int64{3, 5, 2}, Data: weights.Pattern(1, 120)}
		scalar := weights.Tensor{Name: "s", DType: "BF16", Data: weights.Pattern(2, 2)}
		content := weights.Safetensors(f32, scalar)
		p.write("m/model.safetensors", content)
		block := weights.Tensor{Name: "q", DType: "Q4_0", Shape: []int64{2, 64}, Data: weights.Pattern(3, 72)}
		p.write("g/x.gguf", weights.GGUF(block))
		d := p.start()
		for _, c := range []struct {
			path, dtype, shape, strides, file string
			offset                            int
		}{
			{"m/w", "F32", "[3,5,2]", "[10,2,1]", "model.safetensors", len(content) - 122},
			{"m/w.npy", "F32", "[3,5,2]", "[10,2,1]", "model.safetensors", len(content) - 122},
			{"m/s", "BF16", "[]", "[]", "model.safetensors", len(content) - 2},
			{"g/q", "Q4_0", "[2,64]", "-", "x.gguf", len(weights.GGUF(block)) - 96},
		} {
			path := d.at("tensors", c.path)
			for name, want := range map[string]string{
				"dtype": c.dtype, "shape": c.shape, "strides": c.strides, "file": c.file, "offset": fmt.Sprint(c.offset), "state": "-",
			} {
				got, err := d.get(path, name)
				if want == "-" && !errors.Is(err, unix.ENODATA) || want != "-" && (err != nil || got != want) {
					t.Errorf("%s: %s is %q (%v), want %s", c.path, name, got, err, want)
				}
			}
			if err := d.set(path, "dtype", "F64"); !errors.Is(err, unix.EPERM) {
				t.Errorf("%s: set dtype: %v, want EPERM", c.path, err)
			}
			if names := must(d.attrs(path))(t); !slices.Contains(names, attribute+"dtype") || slices.Contains(names, attribute+"strides") == (c.strides == "-") {
				t.Errorf("%s: listed are %q", c.path, strings.Join(names, " "))
			}
		}
		if n := d.status().Counters.Loads; n != 0 {
			t.Errorf("attributes made %d loads", n)
		}
	})
}

// TestWaitFails: wait of a model that cannot be loaded fails, the model has failed
// and says why; when the reason is gone, so is the error.
func TestWaitFails(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		file := p.slow().Add("m/model.safetensors", weights.Single(1, small))
		d := p.start()
		must(d.list(d.model("m")))(t)
		file.Fail(unix.EIO)
		if got, err := d.get(d.model("m"), "wait"); !errors.Is(err, unix.EIO) {
			t.Errorf("wait: %q, %v, want EIO", got, err)
		}
		s := d.status()
		if of := s.of(t, "m"); of.State != "failed" || of.Error == nil || s.Counters.LoadFailures == 0 || s.Memory.Resident != 0 {
			t.Errorf("the model is %s (%v) after %d failures, %d bytes resident", of.State, of.Error, s.Counters.LoadFailures, s.Memory.Resident)
		}
		if text := must(d.get(d.model("m"), "error"))(t); !strings.Contains(text, "model.safetensors") {
			t.Errorf("error is %q", text)
		}
		if names := must(d.attrs(d.model("m")))(t); !slices.Contains(names, attribute+"error") {
			t.Errorf("error is not listed: %q", names)
		}
		file.Fail(0)
		if got := must(d.get(d.model("m"), "wait"))(t); got != "resident" {
			t.Errorf("wait returns %q when the origin is well again", got)
		}
		if text, err := d.get(d.model("m"), "error"); !errors.Is(err, unix.ENODATA) {
			t.Errorf("error stays %q, %v", text, err)
		}
	})
}
