// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelfs/modelfs/tests/internal/origin"
	"github.com/modelfs/modelfs/tests/internal/weights"
	tensor "github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/reference"
)

// ReferArgs are what a call of a user names.
type ReferArgs struct {
	Root, Program string
	Uid           int
	Path          string
	Offset        int64
	Datatype      tensor.Datatype
	Shape         []int64
	Output        []byte // what comes out; nil: it is an input
	Limit         time.Duration
}

// Referred is what was found there.
type Referred struct {
	Content       []byte
	Offset, Bytes int64
	Refused       string // one of reference's errors
}

// openers are those of a server's process, by mount: all calls have one, as in a server.
var openers struct {
	sync.Mutex
	all map[string]*reference.Opener
}

func openerOf(a ReferArgs) (*reference.Opener, error) {
	openers.Lock()
	defer openers.Unlock()
	if o := openers.all[a.Root]; o != nil {
		return o, nil
	}
	var keys atomic.Uint64
	o, err := reference.NewOpener(reference.Options{Root: a.Root, Command: []string{a.Program, "open-helper"}, NextKey: func() uint64 { return keys.Add(1) }})
	if err == nil {
		openers.all = map[string]*reference.Opener{a.Root: o}
	}
	return o, err
}

// Refer is what a server does with a reference: this process is the server, with the
// program's own helpers.
func (*reading) Refer(a ReferArgs, got *Referred) error {
	opener, err := openerOf(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.Limit)
	defer cancel()
	user := caller.User{Uid: uint32(a.Uid), Gid: uint32(a.Uid)}
	ref := tensor.Ref{Path: a.Path, Offset: a.Offset, Bytes: -1}
	t := tensor.Tensor{Name: "x", Datatype: a.Datatype, Shape: a.Shape}
	var r *reference.Resolved
	if a.Output == nil {
		r, err = opener.Input(ctx, user, t, ref)
	} else {
		r, err = opener.Output(ctx, user, ref)
	}
	for _, known := range []error{
		reference.ErrPlace, reference.ErrNotExist, reference.ErrPermission, reference.ErrBounds, reference.ErrMismatch, reference.ErrUnavailable, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			got.Refused = known.Error() + "\n" + err.Error()
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer r.Close()
	got.Offset, got.Bytes = r.Place().Offset, r.Place().Bytes
	if a.Output != nil {
		if err := r.Fits(t, int64(len(a.Output))); err != nil {
			return err
		}
		return r.Write(a.Output)
	}
	got.Content = make([]byte, got.Bytes)
	_, err = r.Read(got.Content)
	return err
}

// refer has a server's process open something for a user.
func (d *daemon) refer(server *reader, uid int, path string, change ...func(*ReferArgs)) (Referred, error) {
	a := ReferArgs{Root: d.mount, Program: programs.modelfs, Uid: uid, Path: path, Datatype: tensor.UINT8, Shape: []int64{small - 128}, Limit: patience}
	for _, c := range change {
		c(&a)
	}
	return call[ReferArgs, Referred](server, "Refer", a)
}

// TestReferences: what calls name in a mount is opened with the rights of who calls,
// where it may be named and as what it is.
func TestReferences(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start("--allow-other")
		server := startReader(t, 0)
		want := weights.Single('a', small)[128:]
		shaped := func(dims ...int64) func(*ReferArgs) { return func(a *ReferArgs) { a.Shape = dims } }
		for _, uid := range []int{0, alice} {
			got := must(d.refer(server, uid, "tensors/a/weight"))(t)
			if !bytes.Equal(got.Content, want) || got.Offset != 0 {
				t.Errorf("uid %d: a tensor: %d bytes at %d, %s", uid, got.Bytes, got.Offset, got.Refused)
			}
			got = must(d.refer(server, uid, "tensors/a/weight.npy"))(t)
			if !bytes.Equal(got.Content, want) || got.Offset != 4096 {
				t.Errorf("uid %d: a tensor as NPY: %d bytes at %d, %s", uid, got.Bytes, got.Offset, got.Refused)
			}
		}
		for what, wrong := range map[string]func(*ReferArgs){
			"another shape": shaped(1, small-128),
			"another type":  func(a *ReferArgs) { a.Datatype = tensor.INT8 },
		} {
			for _, path := range []string{"tensors/a/weight", "tensors/a/weight.npy"} {
				if got := must(d.refer(server, alice, path, wrong))(t); !strings.HasPrefix(got.Refused, reference.ErrMismatch.Error()) {
					t.Errorf("%s of %s: %+v", what, path, got.Refused)
				}
			}
		}
		for _, line := range []string{
			"mkdir -m 700 @/sessions/hers && echo -n hello >@/sessions/hers/f && chmod 666 @/sessions/hers/f",
			"mkdir @/sessions/open && echo -n hello >@/sessions/open/f && chmod 644 @/sessions/open/f && echo -n hello >@/sessions/open/g && chmod 600 @/sessions/open/g",
		} {
			if out, err := d.shellAs(alice, strings.ReplaceAll(line, "@", d.mount)); err != nil {
				t.Fatalf("%v %s", err, out)
			}
		}
		output := func(a *ReferArgs) { a.Output = []byte("HE") }
		for _, c := range []struct {
			uid    int
			path   string
			change func(*ReferArgs)
			want   error
		}{
			{alice, "sessions/hers/f", shaped(5), nil},
			{alice, "sessions/hers/f", shaped(6), reference.ErrBounds},
			{bob, "sessions/hers/f", shaped(5), reference.ErrPermission},
			{bob, "sessions/hers/f", output, reference.ErrPermission},
			{bob, "sessions/open/f", shaped(5), nil},
			{bob, "sessions/open/f", output, reference.ErrPermission},
			{bob, "sessions/open/g", shaped(5), reference.ErrPermission},
			{bob, "sessions/open/none", output, reference.ErrNotExist},
			{bob, "tensors/a/weight", output, reference.ErrPermission},
			{alice, "tensors/a", shaped(5), reference.ErrPlace},
			{alice, "models/a/model.safetensors", shaped(5), reference.ErrPlace},
			{alice, "sessions/hers/../open/f", shaped(5), reference.ErrPlace},
			{alice, "sessions/open", shaped(5), reference.ErrPlace},
			{alice, "objects/61001/key", shaped(5), reference.ErrPlace},
		} {
			got, err := d.refer(server, c.uid, c.path, c.change)
			if err != nil || c.want == nil && got.Refused != "" || c.want != nil && !strings.HasPrefix(got.Refused, c.want.Error()) {
				t.Errorf("uid %d, %s: %+v %v, want %v", c.uid, c.path, got, err, c.want)
			}
		}
		if got, err := d.refer(server, alice, "sessions/hers/f", output); err != nil || got.Refused != "" {
			t.Errorf("her own output: %+v %v", got, err)
		}
		if got, err := d.shellAs(alice, "cat "+d.at("sessions/hers/f")); got != "HEllo" {
			t.Errorf("then it is %q %v", got, err)
		}
		if out, err := d.shellAs(alice, "rm -r "+d.at("sessions/hers")+" "+d.at("sessions/open")); err != nil {
			t.Errorf("%v %s", err, out)
		}
		d.nothingWritten()
	}, normal, noPassthrough)
}

// TestReferenceLoads: a tensor that is not loaded, or not even known, is waited for, as
// long as the call lasts, and other calls of the same user are served meanwhile, by the
// same helper: more of them than it answers at a time give up before.
func TestReferenceLoads(t *testing.T) {
	p := newPlace(t, normal)
	slow := p.slow()
	const models = 70
	users := []int{alice, 0}
	held := map[string]*origin.File{}
	nameOf := func(uid, i int) string { return fmt.Sprintf("a%d-%d", uid, i) }
	for _, uid := range users {
		for i := range models {
			held[nameOf(uid, i)] = slow.Add(nameOf(uid, i)+"/model.safetensors", weights.Single('a', small))
		}
	}
	slow.Add("b/model.safetensors", weights.Single('b', small))
	d := p.start("--allow-other")
	server := startReader(t, 0)
	for _, uid := range users {
		must(d.list(d.at("tensors/" + nameOf(uid, 0))))(t) // its header has been read: to look a name up of the others waits for that
	}
	for _, file := range held {
		file.Hold()
	}
	for _, uid := range users {
		tensorOf := func(i int) string { return "tensors/" + nameOf(uid, i) + "/weight" }
		var calls sync.WaitGroup
		for i := range models {
			calls.Go(func() {
				got, err := d.refer(server, uid, tensorOf(i), func(a *ReferArgs) { a.Limit = 300 * time.Millisecond })
				if err != nil || !strings.Contains(got.Refused, context.DeadlineExceeded.Error()) {
					t.Errorf("uid %d, model %d while it is loaded: %+v %v", uid, i, got, err)
				}
			})
		}
		calls.Wait()
		done := make(chan Referred, 2)
		for i := range 2 { // one whose header is known, and one whose is not
			go func() {
				got, err := d.refer(server, uid, tensorOf(i))
				if err != nil {
					t.Error(err)
				}
				done <- got
			}()
		}
		if got := must(d.refer(server, uid, "tensors/b/weight"))(t); len(got.Content) != small-128 {
			t.Errorf("uid %d: another one meanwhile: %+v", uid, got.Refused)
		}
		select {
		case got := <-done:
			t.Fatalf("uid %d: it did not wait: %d bytes, %s", uid, got.Bytes, got.Refused)
		case <-time.After(20 * time.Millisecond):
		}
		for i := range 2 {
			held[nameOf(uid, i)].Release()
		}
		for range 2 {
			if got := <-done; !bytes.Equal(got.Content, weights.Single('a', small)[128:]) {
				t.Errorf("uid %d: then: %d bytes, %s", uid, got.Bytes, got.Refused)
			}
		}
	}
}

// TestReferenceOfClosedMount: a mount that lets in nobody but its user serves a server
// of that user, and says to another one what is the matter.
func TestReferenceOfClosedMount(t *testing.T) {
	p := newPlace(t, unprivileged)
	p.writeModels("a")
	d := p.start()
	own := startReader(t, nobody)
	if got := must(d.refer(own, nobody, "tensors/a/weight"))(t); len(got.Content) != small-128 {
		t.Errorf("its own user: %+v", got.Refused)
	}
	if got := must(d.refer(own, alice, "tensors/a/weight"))(t); !strings.Contains(got.Refused, fmt.Sprintf("runs as uid %d", nobody)) {
		t.Errorf("another user of an unprivileged server: %+v", got.Refused)
	}
	server := startReader(t, 0)
	for _, uid := range []int{0, nobody, alice} {
		if got := must(d.refer(server, uid, "tensors/a/weight"))(t); !strings.HasPrefix(got.Refused, reference.ErrPermission.Error()) {
			t.Errorf("root's server, for uid %d: %+v", uid, got.Refused)
		}
	}
}

// TestReferenceAfterUnmount: where the mount has gone, the folder below it is not taken
// for it.
func TestReferenceAfterUnmount(t *testing.T) {
	p := newPlace(t, normal)
	d := p.start("--allow-other")
	server := startReader(t, 0)
	d.reader.kill()
	d.end()
	p.folder(filepath.Join("mnt", "sessions/a"))
	if out, err := d.shellAs(0, "echo -n hello >"+d.at("sessions/a/f")); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	got := must(d.refer(server, 0, "sessions/a/f", func(a *ReferArgs) { a.Shape = []int64{5} }))(t)
	if !strings.Contains(got.Refused, "nothing is mounted") {
		t.Errorf("got %+v", got)
	}
}
