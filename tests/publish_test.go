// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestPublish: a model that is copied in is there for everybody, sealed, its tensors
// shown, counted, and goes when its owner removes it.
// The control: before the copy there is no such model, and a file of it that is
// still written is neither to be read nor parsed.
func TestPublish(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		content := weights.Single(1, small)
		from := p.write("elsewhere/model.safetensors", content)
		p.write("elsewhere/config.json", []byte("{}"))
		d := p.start("--models", p.folder("none"))
		d.shell("cp -r " + filepath.Dir(from) + " " + d.at("models/mine"))
		path := d.model("mine/model.safetensors")
		if got := must(d.read(path))(t); !bytes.Equal(got, content) {
			t.Error("other bytes than were copied in")
		}
		s := d.status()
		if it := s.of(t, "mine"); it.State != "resident" || it.Bytes != int64(len(content)) || it.Loads != 0 || s.Counters.Loads != 0 {
			t.Errorf("%+v, %+v", it, s.Counters)
		}
		if got, err := d.get(path, "sealed"); got != "1" {
			t.Errorf("sealed is %q, %v", got, err)
		}
		if got := must(d.read(d.at("tensors/mine/weight")))(t); len(got) == 0 {
			t.Error("its tensor has no bytes")
		}
		for what, flags := range map[string]int{"write": unix.O_WRONLY, "read and write": unix.O_RDWR, "truncate": unix.O_WRONLY | unix.O_TRUNC} {
			if fd, err := d.open(path, flags); !errors.Is(err, unix.EPERM) {
				t.Errorf("open to %s: %v, want EPERM", what, err)
				_ = d.close(fd)
			}
		}
		d.shell("rm -r " + d.at("models/mine"))
		if _, err := d.stat(d.at("models/mine")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after rm: %v", err)
		}
		eventually(t, patience, "its memory is free", func() bool {
			s := d.status()
			return s.Memory.Resident == 0 && s.Memory.Session == 0 && s.Memory.MappedAfterEviction == 0
		})
	})
}

// TestFolderMadeAnew: a folder that was removed while somebody has it open, or is in it,
// can be made again, and things in it, be it removed by its owner or by its end.
func TestFolderMadeAnew(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		from := p.write("elsewhere/model.safetensors", weights.Single(1, small))
		d := p.start("--models", p.folder("none"))
		d.shell(fmt.Sprintf(`cd %s && mkdir c && exec 7<c && rmdir c && mkdir c && : >c/f && exec 7<&-`, d.at("sessions")))
		d.shell(fmt.Sprintf(`cd %s && cp -r %s p && exec 7<p && rm -r p && cp -r %[2]s p && cat p/model.safetensors >/dev/null`, d.at("models"), filepath.Dir(from)))
		d.shell(fmt.Sprintf(`cd %s && mkdir s && (cd s && exec sleep 600) & sleeps=$!
			cd %[1]s && until setfattr -n user.modelfs.ttl -v 0.1 s 2>/dev/null; do sleep 0.05; done
			while [ -e s ]; do sleep 0.05; done
			mkdir s && : >s/f; made=$?
			kill $sleeps; exit $made`, d.at("sessions")))
	})
}

// TestSealWaits: a file under its final name can be read when nobody can write it any
// more: not while its writer has it open, nor, with passthrough, while he maps it.
func TestSealWaits(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		content := weights.Single(1, small)
		d := p.start()
		dir := d.at("models/mine")
		d.shell("mkdir " + dir)
		path := filepath.Join(dir, "model.safetensors")
		writer := startReader(t, m.uid)
		id := must(call[WriterArgs, int](writer, "WriteMapped", WriterArgs{Path: path, Bytes: content}))(t)
		if _, err := d.open(path, unix.O_RDONLY|unix.O_NONBLOCK); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("while it is mapped for writing: %v, want EAGAIN", err)
		}
		if _, err := d.open(path, unix.O_WRONLY); !errors.Is(err, unix.ETXTBSY) {
			t.Errorf("a second writer: %v, want ETXTBSY", err)
		}
		if d.status().has("mine") {
			t.Error("what is still written is a model already")
		}
		done := make(chan []byte, 1)
		go func() { b, _ := d.read(path); done <- b }()
		time.Sleep(50 * time.Millisecond)
		select {
		case <-done:
			t.Error("a read did not wait for the seal")
		default:
		}
		if err := writer.unmap(id); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-done:
			if !bytes.Equal(got, content) {
				t.Error("other bytes than were written")
			}
		case <-time.After(patience):
			t.Error("the reader still waits")
		}
	})
}

// TestTemporaryName: what is written under a dot name is nobody's model; renamed, it
// is one at once, and over another one it takes its place, which readers keep.
func TestTemporaryName(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		first, second := weights.Single(1, small), weights.Single(2, small)
		one, two := p.write("x/one", first), p.write("x/two", second)
		d := p.start()
		dir := d.at("models/mine")
		d.shell(fmt.Sprintf("mkdir %[1]s && cp %[2]s %[1]s/.new && sleep 0.1", dir, one))
		if d.status().has("mine") {
			t.Error("a temporary file makes a model")
		}
		d.shell(fmt.Sprintf("mv %[1]s/.new %[1]s/model.safetensors", dir))
		path := filepath.Join(dir, "model.safetensors")
		id := must(d.attach(path))(t)
		d.shell(fmt.Sprintf("cp %[2]s %[1]s/.new && cat %[1]s/.new >/dev/null && mv %[1]s/.new %[1]s/model.safetensors", dir, two))
		if got := must(d.read(path))(t); !bytes.Equal(got, second) {
			t.Error("the name has other bytes than the second file's")
		}
		if got := must(d.sum(id))(t); got != digest(first) {
			t.Error("the reader of the first one has other bytes")
		}
		if err := d.unmap(id); err != nil {
			t.Error(err)
		}
		eventually(t, patience, "the first one's memory is free", func() bool { return d.status().Memory.MappedAfterEviction == 0 })
		if _, stderr, code := d.run("evict", "mine"); code != 0 {
			t.Errorf("evict: %s", stderr)
		}
		eventually(t, patience, "what was evicted is gone: it has no origin", func() bool {
			_, err := d.stat(dir)
			return errors.Is(err, os.ErrNotExist)
		})
	})
}

// TestPublishedGoLast: for room a model goes that can be loaded again, however lately
// it was used.
func TestPublishedGoLast(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		from := p.write("x/one", weights.Single(1, 4*small))
		p.writeModels("a", "b")
		d := p.start("--memory", fmt.Sprint(4*small+small+small/2), "--over-budget", "fail")
		d.shell(fmt.Sprintf("mkdir %[1]s && cp %[2]s %[1]s/model.safetensors", d.at("models/mine"), from))
		d.use("a")
		time.Sleep(50 * time.Millisecond) // a close arrives late: what is in use does not go
		d.use("b")
		if s := d.status(); s.of(t, "mine").State != "resident" || s.of(t, "a").State != "absent" || s.of(t, "b").State != "resident" {
			t.Errorf("resident are %s", d.residents())
		}
		if _, err := d.open(d.model("mine/model.safetensors"), unix.O_RDONLY); err != nil {
			t.Error(err)
		}
	})
}
