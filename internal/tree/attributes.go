// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"strconv"
	"strings"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/models"
)

// The attributes of models/<model>. All but wait and evict are listed when they
// apply.
const (
	stateAttr    = "user.modelfs.state"
	refsAttr     = "user.modelfs.refs"
	bytesAttr    = "user.modelfs.bytes"
	residentAttr = "user.modelfs.resident"
	pinnedAttr   = "user.modelfs.pinned"
	ttlAttr      = "user.modelfs.ttl"
	errorAttr    = "user.modelfs.error"
	waitAttr     = "user.modelfs.wait"
	loadingAttr  = "user.modelfs.loading" // bytes that have arrived, for progress
)

func (m *modelFolder) Xattr(ctx context.Context, c fs.Caller, name string) ([]byte, error) {
	switch name {
	case waitAttr:
		if err := accessOf(c).loads(ctx, m.model); err != nil {
			return nil, err
		}
		if err := m.t.models.Load(ctx, m.model); err != nil {
			return nil, fail(err)
		}
		return []byte(m.t.models.Status(ctx, m.model).State), nil
	case loadingAttr:
		return number(m.t.models.Cache.Loading(m.model.Name())), nil
	case errorAttr:
		if !accessOf(c).Reads(ctx, m.model) {
			return nil, fs.ErrAccess
		}
		m.t.checkIndex(ctx, m.model)
	}
	return modelAttr(m.t.models.Status(ctx, m.model), name)
}

func modelAttr(s models.Status, name string) ([]byte, error) {
	switch name {
	case stateAttr:
		return []byte(s.State), nil
	case refsAttr:
		return number(int64(s.Refs)), nil
	case bytesAttr:
		return number(s.Bytes), nil
	case residentAttr:
		return number(s.ResidentBytes), nil
	case pinnedAttr:
		if s.Pinned {
			return number(1), nil
		}
		return number(0), nil
	case ttlAttr:
		return seconds(s.TTLSeconds), nil
	case errorAttr:
		if s.Error != nil {
			return []byte(*s.Error), nil
		}
	}
	return nil, fs.ErrNoAttr
}

func (m *modelFolder) ListXattr(ctx context.Context) ([]string, error) {
	names := []string{stateAttr, refsAttr, bytesAttr, residentAttr, pinnedAttr, ttlAttr}
	m.t.checkIndex(ctx, m.model)
	if m.t.models.Status(ctx, m.model).Error != nil {
		names = append(names, errorAttr)
	}
	return names, nil
}

func (m *modelFolder) SetXattr(ctx context.Context, _ fs.Caller, name string, value []byte) error {
	reg := m.t.models.Cache.Registry()
	text := strings.TrimSpace(string(value))
	switch name {
	case pinnedAttr:
		switch text {
		case "1":
			reg.Pin(m.model.Name())
		case "0":
			reg.Unpin(m.model.Name())
		default:
			return fs.ErrInvalid
		}
		return nil
	case ttlAttr:
		d, err := parseSeconds(text)
		if err == nil {
			reg.SetTTL(m.model.Name(), d)
		}
		return err
	case evictAttr:
		if text != "1" {
			return fs.ErrInvalid
		}
		return fail(m.t.models.Evict(ctx, m.model.Name()))
	}
	return fs.ErrPermission
}

func number(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

func seconds(s float64) []byte { return strconv.AppendFloat(nil, s, 'f', -1, 64) }
