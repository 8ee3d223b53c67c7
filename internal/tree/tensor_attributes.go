// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"encoding/json"

	"github.com/modelfs/modelfs/fs"
)

// The attributes of a tensor's file.
const (
	dtypeAttr   = "user.modelfs.dtype"
	shapeAttr   = "user.modelfs.shape"
	stridesAttr = "user.modelfs.strides"
	fileAttr    = "user.modelfs.file"
	offsetAttr  = "user.modelfs.offset"
)

func (f *tensorFile) Xattr(ctx context.Context, _ fs.Caller, name string) ([]byte, error) {
	_, t, err := f.recipe(ctx)
	if err != nil {
		return nil, err
	}
	switch name {
	case dtypeAttr:
		return []byte(t.DType.String()), nil
	case shapeAttr:
		return list(t.Shape)
	case stridesAttr:
		if s := t.StridesOrDefault(); s != nil {
			return list(s)
		}
	case fileAttr:
		if t.InFile() {
			return []byte(t.File), nil
		}
	case offsetAttr:
		if t.InFile() {
			return number(t.Offset), nil
		}
	}
	return nil, fs.ErrNoAttr
}

func (f *tensorFile) ListXattr(ctx context.Context) ([]string, error) {
	_, t, err := f.recipe(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{dtypeAttr, shapeAttr}
	if t.StridesOrDefault() != nil {
		names = append(names, stridesAttr)
	}
	if t.InFile() {
		names = append(names, fileAttr, offsetAttr)
	}
	return names, nil
}

func (f *tensorFile) SetXattr(context.Context, fs.Caller, string, []byte) error {
	return fs.ErrPermission
}

// list writes numbers as JSON; a scalar's are [].
func list(n []int64) ([]byte, error) {
	if n == nil {
		n = []int64{}
	}
	return json.Marshal(n)
}
