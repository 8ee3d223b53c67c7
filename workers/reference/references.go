// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"fmt"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/handler"
)

// Opened is where a tensor lies that was named instead of sent. It is valid until Close.
type Opened interface {
	// Place has no File for what must not be mapped; its Bytes are how many there are, or
	// how much room.
	Place() handler.Place
	// Read copies the bytes, and says how many they are.
	Read(to []byte) (int64, error)
	// Fits says whether an output belongs there.
	Fits(t call.Tensor, bytes int64) error
	// Write puts an output there.
	Write(data []byte) error
	Close() error
}

// References opens what calls name. nil opens nothing: ErrOff.
type References struct {
	opener  *Opener
	regions *Regions // nil: shared memory of clients is not allowed
}

// New makes References of an Opener, which they close. clientMemory allows system
// shared memory of clients.
func New(o *Opener, clientMemory bool) *References {
	r := &References{opener: o}
	if clientMemory {
		r.regions = NewRegions(o)
	}
	return r
}

// ClientMemory says whether system shared memory of clients is allowed.
func (r *References) ClientMemory() bool { return r != nil && r.regions != nil }

// known is the caller's user, if by reference is for him.
func (r *References) known(c caller.Caller) (caller.User, error) {
	switch {
	case r == nil:
		return caller.User{}, fmt.Errorf("%w: by reference", ErrOff)
	case c.User == nil:
		return caller.User{}, ErrUnknownCaller
	}
	return *c.User, nil
}

// ofRegions is the same for shared memory.
func (r *References) ofRegions(c caller.Caller) (caller.User, *Regions, error) {
	if !r.ClientMemory() {
		return caller.User{}, nil, fmt.Errorf("%w: shared memory of clients (modelfs serve --allow-client-shm)", ErrOff)
	}
	user, err := r.known(c)
	return user, r.regions, err
}

// Input opens what a call names as an input.
func (r *References) Input(ctx context.Context, c caller.Caller, t call.Tensor, ref call.Ref) (Opened, error) {
	if ref.Region != "" {
		return r.inputRegion(c, t, ref)
	}
	user, err := r.known(c)
	if err != nil {
		return nil, err
	}
	o, err := r.opener.Input(ctx, user, t, ref)
	if err != nil {
		return nil, err // not o: a nil pointer in an interface is not nil
	}
	return o, nil
}

func (r *References) inputRegion(c caller.Caller, t call.Tensor, ref call.Ref) (Opened, error) {
	want, err := bytesOf(t)
	if err != nil {
		return nil, err
	}
	if want < 0 {
		want = ref.Bytes
	}
	if ref.Bytes >= 0 && ref.Bytes != want {
		return nil, fmt.Errorf("region %q: %w: %v of %v has %d bytes, the call says %d", shorten(ref.Region), ErrMismatch, t.Shape, t.Datatype, want, ref.Bytes)
	}
	return r.region(c, ref, want)
}

// Output opens what a call names as the place of an output.
func (r *References) Output(ctx context.Context, c caller.Caller, ref call.Ref) (Opened, error) {
	if ref.Region != "" {
		return r.region(c, ref, ref.Bytes)
	}
	user, err := r.known(c)
	if err != nil {
		return nil, err
	}
	o, err := r.opener.Output(ctx, user, ref)
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (r *References) region(c caller.Caller, ref call.Ref, bytes int64) (Opened, error) {
	user, regions, err := r.ofRegions(c)
	if err != nil {
		return nil, err
	}
	g, err := regions.Lookup(user, ref.Region)
	if err != nil {
		return nil, err
	}
	if err := g.narrow(ref.Offset, bytes); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Register gives a piece of a caller's shared memory a name. ErrExists if he has one of
// that name.
func (r *References) Register(ctx context.Context, c caller.Caller, name, key string, offset, size uint64) error {
	user, regions, err := r.ofRegions(c)
	if err != nil {
		return err
	}
	return regions.Register(ctx, user, name, key, offset, size)
}

// Unregister takes one of a caller's names away, or with "" all.
func (r *References) Unregister(c caller.Caller, name string) error {
	user, regions, err := r.ofRegions(c)
	if err != nil {
		return err
	}
	regions.Unregister(user, name)
	return nil
}

// Status lists a caller's regions: one, or with "" all. ErrNoRegion if there is none of
// that name.
func (r *References) Status(c caller.Caller, name string) ([]Status, error) {
	user, regions, err := r.ofRegions(c)
	if err != nil {
		return nil, err
	}
	return regions.Status(user, name)
}

// Close ends helpers and forgets regions.
func (r *References) Close() error {
	if r == nil {
		return nil
	}
	if r.regions != nil {
		_ = r.regions.Close() // never fails
	}
	return r.opener.Close()
}
