// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestNonblockingOpen: O_NONBLOCK starts the load and gives EAGAIN until it is
// there, for weight files and for tensors; a side file is there at once.
// The control: the origin is held back, so an open that waited would not return;
// released, the same open succeeds.
func TestNonblockingOpen(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const size = 4 << 20
		content := weights.Single(1, size)
		p := newPlace(t, m)
		slow := p.slow()
		file := slow.Add("m/model.safetensors", content)
		slow.Add("m/config.json", []byte("{}"))
		d := p.start()
		must(d.stat(d.at("tensors/m/weight")))(t) // its header is read before the origin stands still

		for path, want := range map[string][]byte{
			d.model("m/model.safetensors"): content, d.at("tensors/m/weight"): content[128:],
		} {
			file.Hold()
			for range 3 {
				start := time.Now()
				if fd, err := d.open(path, unix.O_RDONLY|unix.O_NONBLOCK); !errors.Is(err, unix.EAGAIN) {
					t.Errorf("%s: a non-blocking open of what is not loaded: %d, %v, want EAGAIN", path, fd, err)
				}
				if took := time.Since(start); took > patience {
					t.Errorf("%s: the answer took %v", path, took)
				}
			}
			eventually(t, patience, "the load reads from the origin", func() bool { return file.Waiting() > 0 })
			if state := must(d.get(d.model("m"), "state"))(t); state != "loading" {
				t.Errorf("%s: the model is %s, want loading", path, state)
			}
			if fd, err := d.open(d.model("m/config.json"), unix.O_RDONLY|unix.O_NONBLOCK); err != nil || d.close(fd) != nil {
				t.Errorf("a side file: %v", err)
			}
			file.Release()
			var fd int
			eventually(t, patience, path+" is loaded", func() (ok bool) {
				var err error
				if fd, err = d.open(path, unix.O_RDONLY|unix.O_NONBLOCK); err != nil && !errors.Is(err, unix.EAGAIN) {
					t.Fatal(err)
				}
				return err == nil
			})
			if got := must(d.sum(must(d.mapFile(fd))(t)))(t); got != digest(want) {
				t.Errorf("%s: other bytes", path)
			}
			if err := d.close(fd); err != nil {
				t.Error(err)
			}
		}
		if n := d.status().Counters.Loads; n != 2 {
			t.Errorf("%d loads, want one of the file and one of the tensor", n)
		}
	})
}

// TestOpenWaitsForItsFileAlone: an open returns when that file is whole, and the
// rest of the checkpoint follows by itself; another checkpoint does not.
// The control: the second shard is not resident while it is held back.
func TestOpenWaitsForItsFileAlone(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		slow := p.slow()
		first := []weights.Tensor{weights.Bytes("a", 1, 1<<20)}
		second := []weights.Tensor{weights.Bytes("b", 2, 1<<20)}
		content := weights.Safetensors(first...)
		slow.Add("m/model-00001-of-00002.safetensors", content)
		late := slow.Add("m/model-00002-of-00002.safetensors", weights.Safetensors(second...))
		slow.Add("m/model.gguf", weights.GGUF(weights.Tensor{Name: "c", DType: "I8", Shape: []int64{4096}, Data: weights.Pattern(3, 4096)}))
		late.Hold()
		d := p.start()

		if got := must(d.read(d.model("m/model-00001-of-00002.safetensors")))(t); digest(got) != digest(content) {
			t.Error("other bytes")
		}
		eventually(t, patience, "the rest of the checkpoint is read", func() bool { return late.Waiting() > 0 })
		if s := d.status().of(t, "m"); s.State != "loading" || s.Loads != 1 {
			t.Errorf("the model is %s after %d loads, want loading after 1", s.State, s.Loads)
		}
		late.Release()
		eventually(t, patience, "the model is whole", func() bool { return d.resident("m") })
		if s := d.status().of(t, "m"); s.Loads != 2 || s.Bytes != int64(2*len(content)) {
			t.Errorf("%d loads of a primary checkpoint of %d bytes, want 2 of %d: the GGUF is another checkpoint", s.Loads, s.Bytes, 2*len(content))
		}
	})
}
