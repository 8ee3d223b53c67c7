// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/handler"
)

const (
	userRegions = 1000 // of one user
	allRegions  = 8192 // of all
	maxLabel    = 1000 // bytes of a region's name
)

// Status is what is known of a region.
type Status struct {
	Name          string
	Key           string // for its owner only
	Offset, Bytes int64
}

// Regions are the pieces of system shared memory that callers have registered, by user
// and name: one user's names are not another's, and outlive his connections.
type Regions struct {
	opener *Opener

	mu    sync.Mutex
	users map[uint32]map[string]*region // guarded by mu, by uid and name
	count int                           // guarded by mu
}

// region is one. Its file is closed when its name has gone and nobody uses it.
type region struct {
	Status
	file  *os.File
	write bool
	users int // guarded by Regions.mu, the name is one
}

// NewRegions makes an empty set. The Opener is its caller's.
func NewRegions(o *Opener) *Regions {
	return &Regions{opener: o, users: map[uint32]map[string]*region{}}
}

// Register opens shared memory with a user's rights, to write if he may, and gives it a
// name.
func (r *Regions) Register(ctx context.Context, user caller.User, name, key string, offset, size uint64) error {
	if name == "" || len(name) > maxLabel {
		return fmt.Errorf("%w: a region's name has 1 to %d bytes, this has %d", ErrPlace, maxLabel, len(name))
	}
	place, err := SharedMemory(key)
	if err != nil {
		return fmt.Errorf("region %q: %w", name, err)
	}
	if size == 0 || size > math.MaxInt64 || offset > math.MaxInt64 {
		return fmt.Errorf("region %q: %w: %d bytes at %d", name, ErrBounds, size, offset)
	}
	// Looked at before something is opened, and again when it is added.
	r.mu.Lock()
	err = r.roomLocked(user.Uid, name)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	write := true
	f, st, err := r.opener.open(ctx, user, place, true)
	if errors.Is(err, ErrPermission) {
		write = false // inputs may lie in what cannot be written
		f, st, err = r.opener.open(ctx, user, place, false)
	}
	if err != nil {
		return fmt.Errorf("region %q: %w", name, err)
	}
	err = within(fmt.Sprintf("region %q", name), int64(offset), int64(size), int64(min(st.Size, math.MaxInt64)))
	if err == nil {
		err = r.add(user.Uid, &region{Status: Status{name, key, int64(offset), int64(size)}, file: f, write: write, users: 1})
	}
	if err != nil {
		f.Close()
	}
	return err
}

func (r *Regions) roomLocked(uid uint32, name string) error {
	mine := r.users[uid]
	switch {
	case mine[name] != nil:
		return fmt.Errorf("%w: %q", ErrExists, name)
	case len(mine) >= userRegions:
		return fmt.Errorf("%w: uid %d has %d regions", ErrLimit, uid, len(mine))
	case r.count >= mostRegions():
		return fmt.Errorf("%w: there are %d regions", ErrLimit, r.count)
	}
	return nil
}

// mostRegions leaves descriptors to the calls, and to the rest of the process.
func mostRegions() int {
	return min(shareOfDescriptors(3), allRegions)
}

func (r *Regions) add(uid uint32, g *region) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.roomLocked(uid, g.Name); err != nil {
		return err
	}
	if r.users[uid] == nil {
		r.users[uid] = map[string]*region{}
	}
	r.users[uid][g.Name] = g
	r.count++
	return nil
}

// Unregister takes a name away, or with "" all of a user's. One that is not there is no
// error. Calls that use the region go on.
func (r *Regions) Unregister(user caller.User, name string) {
	var gone []*region
	r.mu.Lock()
	if name == "" {
		for _, g := range r.users[user.Uid] {
			gone = append(gone, g)
		}
	} else if g := r.users[user.Uid][name]; g != nil {
		gone = []*region{g}
	}
	for _, g := range gone {
		delete(r.users[user.Uid], g.Name)
	}
	if len(r.users[user.Uid]) == 0 {
		delete(r.users, user.Uid)
	}
	r.mu.Unlock()
	for _, g := range gone {
		r.release(g)
	}
}

// release gives up one use of a region.
func (r *Regions) release(g *region) {
	r.mu.Lock()
	g.users--
	last := g.users == 0
	if last {
		r.count-- // its descriptor counts until it is closed
	}
	r.mu.Unlock()
	if last {
		g.file.Close()
	}
}

// Status lists a user's regions: one, or with "" all.
func (r *Regions) Status(user caller.User, name string) ([]Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name != "" {
		g := r.users[user.Uid][name]
		if g == nil {
			return nil, fmt.Errorf("%w: %q", ErrNoRegion, shorten(name))
		}
		return []Status{g.Status}, nil
	}
	var all []Status
	for _, g := range r.users[user.Uid] {
		all = append(all, g.Status)
	}
	return all, nil
}

// Lookup finds a user's region, which stays open until it is closed.
func (r *Regions) Lookup(user caller.User, name string) (*Region, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.users[user.Uid][name]
	if g == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoRegion, shorten(name))
	}
	g.users++
	return &Region{of: r, region: g, bytes: g.Bytes}, nil
}

// Close takes all names away.
func (r *Regions) Close() error {
	r.mu.Lock()
	var uids []uint32
	for uid := range r.users {
		uids = append(uids, uid)
	}
	r.mu.Unlock()
	for _, uid := range uids {
		r.Unregister(caller.User{Uid: uid}, "")
	}
	return nil
}

// Region is a piece of a region, in use until Close. It is never mapped: its owner can
// make it smaller at any time, and whoever has it mapped ends then.
type Region struct {
	of            *Regions
	region        *region
	offset, bytes int64 // in the region
	closed        sync.Once
}

var _ Opened = (*Region)(nil)

// narrow makes it a piece of what it was; bytes of -1: all that follows.
func (g *Region) narrow(offset, bytes int64) error {
	if bytes < 0 && offset >= 0 && offset <= g.bytes {
		bytes = g.bytes - offset
	}
	if err := within(g.name(), offset, bytes, g.bytes); err != nil {
		return err
	}
	g.offset, g.bytes = g.offset+offset, bytes
	return nil
}

func (g *Region) name() string { return fmt.Sprintf("region %q", g.region.Name) }

func (g *Region) at() int64 { return g.region.Offset + g.offset }

// Place has no File: no handler gets it.
func (g *Region) Place() handler.Place { return handler.Place{Offset: g.offset, Bytes: g.bytes} }

// ReadInto fills p from an offset of the piece. ErrBounds if its owner shrank it.
func (g *Region) ReadInto(p []byte, offset int64) error {
	if err := within(g.name(), offset, int64(len(p)), g.bytes); err != nil {
		return err
	}
	return readInto(int(g.region.file.Fd()), g.name(), p, g.at()+offset)
}

// WriteFrom writes p at an offset of the piece; see writeFrom for what its owner can do
// meanwhile.
func (g *Region) WriteFrom(p []byte, offset int64) error {
	if !g.region.write {
		return fmt.Errorf("write %s: %w: its owner may not, either", g.name(), ErrPermission)
	}
	if err := within(g.name(), offset, int64(len(p)), g.bytes); err != nil {
		return err
	}
	return writeFrom(int(g.region.file.Fd()), g.name(), p, g.at()+offset)
}

// Read copies the piece to memory.
func (g *Region) Read(to []byte) (int64, error) {
	if err := within(g.name(), 0, g.bytes, int64(len(to))); err != nil {
		return 0, err
	}
	return g.bytes, g.ReadInto(to[:g.bytes], 0)
}

// Fits says whether an output of so many bytes has room.
func (g *Region) Fits(_ call.Tensor, bytes int64) error { return within(g.name(), 0, bytes, g.bytes) }

// Write puts an output there.
func (g *Region) Write(data []byte) error { return g.WriteFrom(data, 0) }

// Close ends the use. Again does no harm.
func (g *Region) Close() error {
	g.closed.Do(func() { g.of.release(g.region) })
	return nil
}
