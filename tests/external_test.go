// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestExternalData: the data of an ONNX model are loaded, held, counted and evicted
// with it, whatever their file is called, and however the load was asked for.
// The controls: a file that no model names stays on disk, and after the evict nothing
// is in memory.
func TestExternalData(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		names, ways := []string{"w.data", "weights", "weights.bin", "deep/w.raw", "model.onnx_data"}, []string{"load", "load-file", "lease", "open"}
		want := weights.Pattern(1, externalSize)
		for i, name := range names {
			for _, way := range ways {
				model := fmt.Sprintf("%s-%d/", way, i)
				p.write(model+"config.json", []byte("{}"))
				p.write(model+"model.onnx", weights.ExternalONNX(name, externalSize))
				p.write(model+"side.data", weights.Pattern(9, externalSize))
				p.write(model+name, want)
			}
		}
		d := p.start()
		for i, name := range names {
			for _, way := range ways {
				t.Run(way+" "+name, func(t *testing.T) { d.checkExternal(t, fmt.Sprintf("%s-%d", way, i), name, way, want) })
			}
		}
	}, normal, unprivileged)
}

const externalSize = 1<<20 + 13

func (d *daemon) checkExternal(t *testing.T, model, name, way string, want []byte) {
	t.Helper()
	data, side := d.model(model, name), d.model(model, "side.data")
	before := want
	if way != "open" {
		before = must(d.read(data))(t) // from wherever it is
	}
	blocks := func(path string) int64 { return must(d.stat(path))(t).Blocks }
	fd := -1
	switch way {
	case "load":
		stdout, stderr, code := d.run("load", model)
		if got := stdout + stderr; code != 0 || !strings.Contains(got, "1.00 MiB") {
			t.Errorf("exit %d: %s", code, got)
		}
	case "load-file":
		if stdout, stderr, code := d.run("load", model+"/model.onnx"); code != 0 || !strings.Contains(stdout, "1.00 MiB") {
			t.Errorf("exit %d: %s%s", code, stdout, stderr)
		}
	case "lease":
		fd = must(d.open(d.model(model), folderFlags))(t)
		eventually(t, patience, "the lease counts", func() bool { return d.status().of(t, model).Refs == 1 })
	case "open":
		must(d.read(d.model(model, "model.onnx")))(t)
		if err := d.close(must(d.open(data, unix.O_RDONLY|unix.O_NONBLOCK))(t)); err != nil {
			t.Error(err)
		}
	}
	if strings.HasPrefix(way, "load") {
		if n := d.status().of(t, model).ResidentBytes; n < externalSize {
			t.Errorf("after the load %d bytes are resident", n)
		}
	}
	eventually(t, patience, "the data are in memory", func() bool { return blocks(data)*512 >= externalSize })
	if after := must(d.read(data))(t); !bytes.Equal(before, want) || !bytes.Equal(after, want) {
		t.Error("the file has other bytes")
	}
	eventually(t, patience, "the model is in memory", func() bool { return d.resident(model) })
	if s := d.status().of(t, model); s.Bytes < externalSize || s.ResidentBytes < externalSize {
		t.Errorf("%+v", s)
	}
	if n := blocks(side); n != 0 {
		t.Errorf("what no model names has %d blocks", n)
	}
	if got := must(d.read(d.at("tensors", model, "w")))(t); !bytes.Equal(got, want) {
		t.Error("the tensor has other bytes")
	}
	if fd >= 0 {
		if err := d.set(d.model(model), "evict", "1"); err == nil {
			t.Error("what a lease holds was evicted")
		}
		if err := d.close(fd); err != nil {
			t.Error(err)
		}
	}
	eventually(t, patience, "nobody uses it", func() bool { return d.set(d.model(model), "evict", "1") == nil })
	eventually(t, patience, "it is evicted", func() bool { return blocks(data) == 0 })
}

// TestExternalDataListed: to list models, and to read a file beside them, reads no
// header.
// The control: a load does.
func TestExternalDataListed(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		origin := p.slow()
		header := origin.Add("m/model.onnx", weights.ExternalONNX("w.data", externalSize))
		data := origin.Add("m/w.data", weights.Pattern(1, externalSize))
		d := p.start()
		d.run("ls")
		must(d.list(d.model("m")))(t)
		must(d.stat(d.model("m/w.data")))(t)
		if header.BytesRead() != 0 || data.BytesRead() != 0 {
			t.Errorf("%d bytes of the header were read, and %d of the data", header.BytesRead(), data.BytesRead())
		}
		d.run("load", "m")
		if header.BytesRead() == 0 || data.BytesRead() < externalSize {
			t.Errorf("a load reads %d bytes of the header, and %d of the data", header.BytesRead(), data.BytesRead())
		}
	}, normal)
}

// TestExternalDataAwaited: an open of a model waits for its data, which ONNX Runtime
// opens next, without waiting.
// The control: an open that does not wait either comes too early.
func TestExternalDataAwaited(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		origin := p.slow()
		origin.Add("m/model.onnx", weights.ExternalONNX("w.data", externalSize))
		data := origin.Add("m/w.data", weights.Pattern(1, externalSize))
		d := p.start()
		data.Hold()
		open := func(file string) error {
			fd, err := d.open(d.model("m", file), unix.O_RDONLY|unix.O_NONBLOCK)
			if err == nil {
				err = d.close(fd)
			}
			return err
		}
		eventually(t, patience, "the model is there", func() bool { return open("model.onnx") == nil })
		if err := open("w.data"); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("the data before the model was waited for: %v, want EAGAIN", err)
		}
		opened := make(chan error, 1)
		r := startReader(t, m.uid)
		go func() {
			_, err := r.read(d.model("m", "model.onnx"))
			opened <- err
		}()
		eventually(t, patience, "the data are read", func() bool { return data.Waiting() > 0 })
		select {
		case err := <-opened:
			t.Errorf("the open does not wait for the data (%v)", err)
		case <-time.After(200 * time.Millisecond):
		}
		data.Release()
		if err := <-opened; err != nil {
			t.Error(err)
		}
		if err := open("w.data"); err != nil {
			t.Errorf("the data after the model was waited for: %v", err)
		}
	}, normal)
}
