// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"fmt"

	"github.com/modelfs/modelfs/loaders/npy"
	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/handler"
)

// Resolved is a piece of a file of the mount, open until Close. Handlers may map it: the
// mount's files do not shrink.
type Resolved struct {
	place  handler.Place
	name   Place
	header *npy.Header // of an .npy file
	id     identity
	says   *description // by its attributes, as they were once; nil: not known
	give   func()       // lets go of the file; nil: it has been
}

var _ Opened = (*Resolved)(nil)

// Input opens what a call names as an input: its bytes lie at ref's offset, or behind the
// header of an .npy file. What the file says of the tensor in it, by a header or by
// attributes, is what the call says.
func (o *Opener) Input(ctx context.Context, user caller.User, t call.Tensor, ref call.Ref) (*Resolved, error) {
	want, err := bytesOf(t)
	if err != nil {
		return nil, err
	}
	r, err := o.resolve(ctx, user, ref, false)
	if err != nil {
		return nil, err
	}
	err = r.input(t, ref, want)
	if err == nil && r.header == nil {
		err = o.compare(r, t)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// compare compares a raw file's attributes with a tensor. To ask for them is a question
// to the mount, so they are remembered, and asked for again only when they contradict.
func (o *Opener) compare(r *Resolved, t call.Tensor) error {
	if r.says != nil && r.says.check(t) == nil {
		return nil
	}
	says := described(r.place.File.FD)
	o.files.add(r.id, &says)
	if err := says.check(t); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return nil
}

func (r *Resolved) input(t call.Tensor, ref call.Ref, want int64) error {
	if r.header != nil {
		if err := r.sayHeader().check(t); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	switch {
	case want < 0 && ref.Bytes < 0:
	case want < 0:
		want = ref.Bytes
	case ref.Bytes >= 0 && ref.Bytes != want:
		return fmt.Errorf("%s: %w: %v of %v has %d bytes, the call says %d", r.name, ErrMismatch, t.Shape, t.Datatype, want, ref.Bytes)
	}
	if want >= 0 {
		if err := within(r.name.String(), 0, want, r.place.Bytes); err != nil {
			return fmt.Errorf("%w from %d on", err, r.place.Offset)
		}
		r.place.Bytes = want
	}
	return nil
}

// Output opens what a call names as the place of an output. The file is there, has its
// size, and the caller may write it: nothing is made, and nothing grows.
func (o *Opener) Output(ctx context.Context, user caller.User, ref call.Ref) (*Resolved, error) {
	r, err := o.resolve(ctx, user, ref, true)
	if err != nil {
		return nil, err
	}
	if ref.Bytes >= 0 {
		if err := within(r.name.String(), 0, ref.Bytes, r.place.Bytes); err != nil {
			r.Close()
			return nil, fmt.Errorf("%w from %d on", err, r.place.Offset)
		}
		r.place.Bytes = ref.Bytes
	}
	return r, nil
}

// resolve opens a file. Its place is all that follows ref's offset, or an .npy's data.
func (o *Opener) resolve(ctx context.Context, user caller.User, ref call.Ref, write bool) (*Resolved, error) {
	name, err := MountPlace(ref.Path)
	if err != nil {
		return nil, err
	}
	if err := o.held.take(user.Uid); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	opened, id, err := o.shared(ctx, user, name, write)
	if err != nil {
		o.held.give(user.Uid)
		return nil, err
	}
	f, st := opened.file, &opened.st
	give := func() {
		o.late.give(opened)
		o.held.give(user.Uid)
	}
	fail := func(err error) (*Resolved, error) {
		give()
		return nil, err
	}
	if st.Size > 1<<63-1 {
		return fail(fmt.Errorf("%s: %w: %w", name, ErrBounds, errTooLarge))
	}
	size := int64(st.Size)
	r := &Resolved{name: name, id: id, give: give, place: handler.Place{File: &handler.File{FD: f, Size: size, Writable: write}}}
	if err := within(name.String(), ref.Offset, 0, size); err != nil {
		return fail(err)
	}
	r.place.Offset, r.place.Bytes = ref.Offset, size-ref.Offset
	if isNPY(name) {
		if ref.Offset != 0 {
			return fail(fmt.Errorf("%s: %w: an .npy file is one array, an offset of %d says nothing there", name, ErrMismatch, ref.Offset))
		}
		h, err := readNPY(f, name, size)
		if err != nil {
			return fail(err)
		}
		r.header = &h
		r.place.Offset, r.place.Bytes = h.Data, h.NBytes
	}
	k := o.files.find(r.id)
	r.place.File.Key, r.says = k.key, k.says
	return r, nil
}

func (r *Resolved) sayHeader() description {
	return description{dtype: r.header.DType.String(), shape: r.header.Shape, said: true}
}

// Place is where the bytes lie; its File is the same each time.
func (r *Resolved) Place() handler.Place { return r.place }

// Read copies the bytes to memory.
func (r *Resolved) Read(to []byte) (int64, error) {
	if err := within(r.name.String(), 0, r.place.Bytes, int64(len(to))); err != nil {
		return 0, err
	}
	return r.place.Bytes, readInto(r.fd(), r.name.String(), to[:r.place.Bytes], r.place.Offset)
}

// Fits says whether an output of so many bytes belongs there: there is room, and the
// header of an .npy file says the same of it.
func (r *Resolved) Fits(t call.Tensor, bytes int64) error {
	if r.header != nil {
		if err := r.sayHeader().check(t); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return within(r.name.String(), 0, bytes, r.place.Bytes)
}

// Write puts an output there.
func (r *Resolved) Write(data []byte) error {
	if err := within(r.name.String(), 0, int64(len(data)), r.place.Bytes); err != nil {
		return err
	}
	return writeFrom(r.fd(), r.name.String(), data, r.place.Offset)
}

func (r *Resolved) fd() int { return int(r.place.File.FD.Fd()) }

// Close lets go of the file. Again does no harm.
func (r *Resolved) Close() error {
	if r.give != nil {
		r.give()
		r.give = nil
	}
	return nil
}
