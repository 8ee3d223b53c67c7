// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/scratch"
)

// The attributes of what processes write: a session's folder has bytes, quota and
// ttl, a sealed file says so, an object has a ttl of its own; the writer of a session's
// tensor may say its dtype and shape.
const (
	quotaAttr  = "user.modelfs.quota"
	sealedAttr = "user.modelfs.sealed"
)

func (f *scratchFolder) Xattr(ctx context.Context, c fs.Caller, name string) ([]byte, error) {
	if m, ok := f.model(ctx); ok {
		return m.Xattr(ctx, c, name)
	}
	bytes, quota, ttl, err := f.node.Session()
	if err != nil {
		return nil, fs.ErrNoAttr
	}
	switch name {
	case bytesAttr:
		return number(bytes), nil
	case quotaAttr:
		return number(quota), nil
	case ttlAttr:
		return seconds(ttl.Seconds()), nil
	}
	return nil, fs.ErrNoAttr
}

func (f *scratchFolder) ListXattr(ctx context.Context) ([]string, error) {
	if m, ok := f.model(ctx); ok {
		return m.ListXattr(ctx)
	}
	if _, _, _, err := f.node.Session(); err != nil {
		return nil, nil
	}
	return []string{bytesAttr, quotaAttr, ttlAttr}, nil
}

func (f *scratchFolder) SetXattr(ctx context.Context, c fs.Caller, name string, value []byte) error {
	if m, ok := f.model(ctx); ok {
		return m.SetXattr(ctx, c, name, value)
	}
	if _, _, _, err := f.node.Session(); err != nil {
		return fs.ErrPermission
	}
	text := strings.TrimSpace(string(value))
	switch name {
	case quotaAttr:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return fs.ErrInvalid
		}
		return fail(f.node.SetSession(&n, nil))
	case ttlAttr:
		d, err := parseSeconds(text)
		if err != nil {
			return err
		}
		return fail(f.node.SetSession(nil, &d))
	}
	return fs.ErrPermission
}

// parseSeconds reads a time to live.
func parseSeconds(text string) (time.Duration, error) {
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || !(s >= 0 && s <= 1<<32) { // NaN is neither
		return 0, fs.ErrInvalid
	}
	return time.Duration(s * float64(time.Second)), nil
}

func (f *scratchFile) object() (group string, ok bool) {
	p, ok := f.node.Path()
	return scratch.Object(p), ok && f.area == f.t.areas.Objects
}

func (f *scratchFile) Xattr(_ context.Context, _ fs.Caller, name string) ([]byte, error) {
	switch group, object := f.object(); {
	case name == sealedAttr && f.node.Sealed():
		return number(1), nil
	case name == ttlAttr && object:
		return seconds(f.t.models.Cache.Registry().TTL(group).Seconds()), nil
	}
	if value, ok := f.node.Notes()[name]; ok {
		return []byte(value), nil
	}
	return nil, fs.ErrNoAttr
}

func (f *scratchFile) ListXattr(context.Context) ([]string, error) {
	var names []string
	if f.node.Sealed() {
		names = append(names, sealedAttr)
	}
	if _, ok := f.object(); ok {
		names = append(names, ttlAttr)
	}
	return append(names, slices.Sorted(maps.Keys(f.node.Notes()))...), nil
}

func (f *scratchFile) SetXattr(_ context.Context, _ fs.Caller, name string, value []byte) error {
	if f.area == f.t.areas.Sessions && (name == dtypeAttr || name == shapeAttr) {
		return fail(f.node.Note(name, string(value)))
	}
	group, object := f.object()
	if name != ttlAttr || !object {
		return fs.ErrPermission
	}
	d, err := parseSeconds(strings.TrimSpace(string(value)))
	if err == nil {
		f.t.models.Cache.Registry().SetTTL(group, d)
	}
	return err
}
