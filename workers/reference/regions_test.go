// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
)

// secret is in every key that a fixture makes, and in no error.
const secret = "secret"

func checkSecret(t *testing.T, err error) {
	t.Helper()
	if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), sharedMemoryDir)) {
		t.Errorf("an error has the key: %v", err)
	}
}

func TestRegions(t *testing.T) {
	f := newFixture(t)
	me, ctx := f.me(), context.Background()
	other := caller.User{Uid: me.Uid + 1, Gid: me.Gid}
	r := NewRegions(f.Opener)
	key, path := f.shm([]byte("0123456789"), 0o600, me)
	if err := r.Register(ctx, me, "a", key, 2, 8); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, key    string
		offset, size uint64
		want         error
	}{
		{"a", key, 0, 1, ErrExists},
		{"", key, 0, 1, ErrPlace},
		{strings.Repeat("n", maxLabel+1), key, 0, 1, ErrPlace},
		{"b", key + "-none", 0, 1, ErrNotExist},
		{"b", "/" + key, 0, 1, ErrPlace},
		{"b", "../" + key, 0, 1, ErrPlace},
		{"b", reservedKey + secret, 0, 1, ErrPlace},
		{"b", filepath.Base(f.root), 0, 1, ErrPlace}, // a folder
		{"b", key, 0, 0, ErrBounds},
		{"b", key, 0, 11, ErrBounds},
		{"b", key, 10, 1, ErrBounds},
		{"b", key, math.MaxUint64, 2, ErrBounds},
		{"b", key, 1, math.MaxUint64, ErrBounds},
		{"b", key, math.MaxInt64, math.MaxInt64, ErrBounds},
	} {
		err := r.Register(ctx, me, c.name, c.key, c.offset, c.size)
		if !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
		checkSecret(t, err)
	}
	if got, err := r.Status(me, "a"); err != nil || len(got) != 1 || got[0] != (Status{"a", key, 2, 8}) {
		t.Errorf("status: %+v %v", got, err)
	}
	for _, user := range []caller.User{me, other} {
		if _, err := r.Status(user, "b"); !errors.Is(err, ErrNoRegion) {
			t.Errorf("status of an unknown one: %v", err)
		}
		if _, err := r.Lookup(user, "b"); !errors.Is(err, ErrNoRegion) {
			t.Errorf("an unknown one: %v", err)
		}
	}
	if got, err := r.Status(other, ""); err != nil || len(got) != 0 {
		t.Errorf("another user's: %+v %v", got, err)
	}
	if _, err := r.Lookup(other, "a"); !errors.Is(err, ErrNoRegion) {
		t.Errorf("another user's: %v", err)
	}
	r.Unregister(other, "a")
	r.Unregister(other, "")
	r.Unregister(me, "b")

	g := must(r.Lookup(me, "a"))(t)
	b := make([]byte, 3)
	if err := g.ReadInto(b, 1); err != nil || string(b) != "345" {
		t.Errorf("read %q %v", b, err)
	}
	if err := g.WriteFrom([]byte("xy"), 6); err != nil {
		t.Error(err)
	}
	for _, at := range []int64{-1, 6, 8, 9, math.MaxInt64, math.MinInt64} {
		if err := g.ReadInto(b, at); !errors.Is(err, ErrBounds) {
			t.Errorf("read at %d: %v", at, err)
		}
		if err := g.WriteFrom(b, at); !errors.Is(err, ErrBounds) {
			t.Errorf("write at %d: %v", at, err)
		}
	}
	if got := must(os.ReadFile(path))(t); string(got) != "01234567xy" {
		t.Errorf("the memory is %q", got)
	}
	// A name that goes while it is used: the region stays until then.
	r.Unregister(me, "")
	if _, err := r.Status(me, "a"); !errors.Is(err, ErrNoRegion) {
		t.Errorf("after unregister: %v", err)
	}
	if err := r.Register(ctx, me, "a", key, 0, 10); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
	if err := g.ReadInto(b, 6-1); err != nil || string(b) != "7xy" {
		t.Errorf("while it is used: %q %v", b, err)
	}
	if r.count != 2 {
		t.Errorf("%d regions", r.count)
	}
	g.Close()
	g.Close()
	r.Close()
	if r.count != 0 || len(r.users) != 0 {
		t.Errorf("%d regions, %d users are left", r.count, len(r.users))
	}
}

// TestPieces: a tensor is a piece of a region.
func TestPieces(t *testing.T) {
	f := newFixture(t)
	me := f.me()
	c := caller.Caller{User: &me}
	refs := New(f.Opener, true)
	key, path := f.shm([]byte("0123456789"), 0o600, me)
	f.do(refs.Register(context.Background(), c, "a", key, 2, 8))
	for _, x := range []struct {
		t    call.Tensor
		ref  call.Ref
		want string
		err  error
	}{
		{tensor(call.UINT8, 8), call.Ref{Bytes: 8}, "23456789", nil},
		{tensor(call.FP32, 1), call.Ref{Offset: 4, Bytes: 4}, "6789", nil},
		{tensor(call.FP32, 1), call.Ref{Offset: 2, Bytes: -1}, "4567", nil},
		{tensor(call.BYTES, 1), call.Ref{Offset: 6, Bytes: -1}, "89", nil},
		{tensor(call.BYTES, 1), call.Ref{Offset: 6, Bytes: 1}, "8", nil},
		{tensor(call.UINT8, 0), call.Ref{Offset: 8, Bytes: 0}, "", nil},
		{tensor(call.FP32, 1), call.Ref{Bytes: 8}, "", ErrMismatch},
		{tensor(call.FP32, 1), call.Ref{Offset: 5, Bytes: 4}, "", ErrBounds},
		{tensor(call.FP32, 1), call.Ref{Offset: -1, Bytes: 4}, "", ErrBounds},
		{tensor(call.FP32, 1), call.Ref{Offset: math.MaxInt64, Bytes: 4}, "", ErrBounds},
		{tensor(call.BYTES, 1), call.Ref{Offset: 9, Bytes: -1}, "", ErrBounds},
		{tensor(call.BYTES, 1), call.Ref{Bytes: math.MaxInt64}, "", ErrBounds},
	} {
		x.ref.Region = "a"
		o, err := refs.Input(context.Background(), c, x.t, x.ref)
		if !errors.Is(err, x.err) || (err != nil) != (o == nil) {
			t.Errorf("%+v: %v %v", x, o, err)
		}
		if err != nil {
			continue
		}
		b := make([]byte, 10)
		if n, err := o.Read(b); err != nil || string(b[:n]) != x.want || o.Place().File != nil || o.Place().Bytes != n {
			t.Errorf("%+v: %q %v", x, b[:n], err)
		}
		o.Close()
	}
	o := must(refs.Output(context.Background(), c, call.Ref{Region: "a", Offset: 4, Bytes: 3}))(t)
	if err := errors.Join(o.Fits(tensor(call.UINT8, 3), 3), o.Write([]byte("abc"))); err != nil {
		t.Error(err)
	}
	if err := o.Fits(tensor(call.UINT8, 4), 4); !errors.Is(err, ErrBounds) {
		t.Errorf("too much: %v", err)
	}
	if err := o.Write([]byte("abcd")); !errors.Is(err, ErrBounds) {
		t.Errorf("too much: %v", err)
	}
	o.Close()
	if got := must(os.ReadFile(path))(t); string(got) != "012345abc9" {
		t.Errorf("the memory is %q", got)
	}
	f.do(refs.Close())
}

// TestRegionRights: a key is opened with its caller's rights; what he may only read
// takes no outputs.
func TestRegionRights(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	ctx := context.Background()
	r := NewRegions(f.Opener)
	defer r.Close()
	hers, _ := f.shm([]byte("hers"), 0o600, alice)
	all, _ := f.shm([]byte("all"), 0o644, alice)
	roots, path := f.shm([]byte("root"), 0o600, root)
	link := path + "-link"
	f.do(os.Symlink(path, link))
	defer os.Remove(link)
	f.do(r.Register(ctx, alice, "x", hers, 0, 4), r.Register(ctx, bob, "y", all, 0, 3), r.Register(ctx, root, "x", hers, 0, 4))
	for user, keys := range map[*caller.User][]string{&bob: {hers, roots}, &alice: {roots, roots + "-link"}} {
		for _, key := range keys {
			err := r.Register(ctx, *user, "x-"+key[len(key)-4:], key, 0, 1)
			if !errors.Is(err, ErrPermission) && !errors.Is(err, ErrPlace) {
				t.Errorf("uid %d: %v", user.Uid, err)
			}
			checkSecret(t, err)
		}
	}
	g := must(r.Lookup(bob, "y"))(t)
	defer g.Close()
	b := make([]byte, 3)
	if err := g.ReadInto(b, 0); err != nil || string(b) != "all" {
		t.Errorf("read %q %v", b, err)
	}
	if err := g.WriteFrom(b, 0); !errors.Is(err, ErrPermission) {
		t.Errorf("write: %v", err)
	}
}

func TestRegionLimit(t *testing.T) {
	f := newFixture(t)
	me, ctx := f.me(), context.Background()
	r := NewRegions(f.Opener)
	defer r.Close()
	key, _ := f.shm([]byte("x"), 0o600, me)
	for i := range userRegions {
		if err := r.Register(ctx, me, fmt.Sprint(i), key, 0, 1); err != nil {
			if errors.Is(err, ErrLimit) && i >= mostRegions() {
				break // of this process
			}
			t.Fatal(err)
		}
	}
	if err := r.Register(ctx, me, "one more", key, 0, 1); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v", err)
	}
	r.Unregister(me, "7")
	if err := r.Register(ctx, me, "one more", key, 0, 1); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
}

// TestSameNameAtOnce: of many that take one name at the same time one gets it, and no
// descriptor is left of the others.
func TestSameNameAtOnce(t *testing.T) {
	f := newFixture(t)
	r := NewRegions(f.Opener)
	key, _ := f.shm([]byte("x"), 0o600, f.me())
	before := descriptorCount(t)
	var all sync.WaitGroup
	var got atomic.Int32
	for range 50 {
		all.Go(func() {
			switch err := r.Register(context.Background(), f.me(), "a", key, 0, 1); {
			case err == nil:
				got.Add(1)
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	all.Wait()
	r.Close()
	if after := descriptorCount(t); got.Load() != 1 || after != before {
		t.Errorf("%d got it, %d descriptors, %d before", got.Load(), after, before)
	}
}

// TestTruncateStorm: an owner who shrinks his region while it is read and written gets
// errors, never a signal, and his file does not grow beyond what he made it.
func TestTruncateStorm(t *testing.T) {
	f := newFixture(t)
	me := f.me()
	r := NewRegions(f.Opener)
	defer r.Close()
	const size = 8 << 20
	key, path := f.shm(bytes.Repeat([]byte{7}, size), 0o600, me)
	f.do(r.Register(context.Background(), me, "a", key, 0, size))
	g := must(r.Lookup(me, "a"))(t)
	defer g.Close()
	var over atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for !over.Load() {
			if err := errors.Join(unix.Truncate(path, 0), unix.Truncate(path, size)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var whole, short [2]int
	b := make([]byte, size)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		for i, err := range []error{g.ReadInto(b, 0), g.WriteFrom(b, 0)} {
			switch {
			case err == nil:
				whole[i]++
			case errors.Is(err, ErrBounds):
				short[i]++
			default:
				t.Fatal(err)
			}
		}
	}
	over.Store(true)
	all.Wait()
	if short[0] == 0 || short[1] == 0 {
		t.Errorf("reads: %d whole, %d short; writes: %d and %d: the storm hit nothing", whole[0], short[0], whole[1], short[1])
	}
	if st := must(os.Stat(path))(t); st.Size() > size {
		t.Errorf("it has grown to %d bytes", st.Size())
	}
	f.do(unix.Truncate(path, 5))
	if err := g.WriteFrom(b, 0); !errors.Is(err, ErrBounds) {
		t.Errorf("after a truncate: %v", err)
	}
	if st := must(os.Stat(path))(t); st.Size() != 5 {
		t.Errorf("a write made it grow to %d bytes", st.Size())
	}
	t.Logf("reads: %d whole, %d short; writes: %d and %d", whole[0], short[0], whole[1], short[1])
}
