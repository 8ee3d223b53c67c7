// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/models"
	"github.com/modelfs/modelfs/internal/scratch"
	"github.com/modelfs/modelfs/registry"
	"github.com/modelfs/modelfs/sources"
)

// Reports makes the files below .modelfs/, each at its open, for one caller.
type Reports interface {
	Status(ctx context.Context, v models.Viewer) ([]byte, error)
	Processes(ctx context.Context, v models.Viewer) ([]byte, error)
	Workers(ctx context.Context, v Visitor) ([]byte, error)
	Metrics(ctx context.Context) ([]byte, error)
	Space() fs.Space
}

// Visitor says what somebody may know of a session.
type Visitor interface {
	// Knows says whether he may know what is in a folder by its owner, group and mode:
	// his own, root's, or one that he may enter.
	Knows(uid, gid, mode uint32) bool
}

// Config is what a Tree is made of.
type Config struct {
	Models  *models.Models
	Reports Reports
	// Uid and Gid own the folders that have no origin.
	Uid, Gid uint32
	// Variants are those that listings show: "f32" of every model, "MODEL@f16" of one.
	Variants []string
	// Areas are where processes write.
	Areas Areas
	// Shared is set when other users come in (--allow-other): models/ is 1777.
	Shared bool
	Log    *slog.Logger
}

// Tree makes the entries of one mount.
type Tree struct {
	models  *models.Models
	reports Reports
	uid     uint32
	gid     uint32
	shared  bool
	born    time.Time
	log     *slog.Logger
	asked   *asked
	areas   Areas

	// places holds, by cache.Part, where the tensors that were opened lie.
	places sync.Map
}

// New returns the tree over the models.
func New(cfg Config) *Tree {
	return &Tree{
		models: cfg.Models, reports: cfg.Reports,
		uid: cfg.Uid, gid: cfg.Gid, shared: cfg.Shared,
		born: time.Now(), log: cfg.Log, asked: newAsked(cfg.Variants), areas: cfg.Areas,
	}
}

// Root is the mount's top folder.
func (t *Tree) Root() fs.Folder { return &root{t} }

// Owned is an entry that belongs to a model: what ps and refs go by.
type Owned interface {
	ModelName() string
}

// Backed is an owned entry whose bytes are a part of a model.
type Backed interface {
	Owned
	// Bytes is the part's size.
	Bytes() int64
}

// fail translates what the packages below answer into what fs knows. Errors
// that fs has no word for stay as they are and become EIO there.
func fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cache.ErrStale), errors.Is(err, sources.ErrReplaced):
		return fs.ErrStale
	case errors.Is(err, sources.ErrOwnMount):
		return fs.ErrLoop
	case errors.Is(err, cache.ErrNotReady):
		return fs.ErrAgain
	case errors.Is(err, iofs.ErrNotExist), errors.Is(err, models.ErrUnknown), errors.Is(err, syscall.ELOOP):
		return fs.ErrNotExist
	case errors.Is(err, registry.ErrBusy), errors.Is(err, registry.ErrPinned):
		return fmt.Errorf("%w: %w", fs.ErrBusy, err)
	case errors.Is(err, scratch.ErrNotExist):
		return fs.ErrNotExist
	case errors.Is(err, scratch.ErrReplaced):
		return fs.ErrStale
	case errors.Is(err, scratch.ErrNotReady):
		return fs.ErrAgain
	case errors.Is(err, scratch.ErrExist):
		return fs.ErrExist
	case errors.Is(err, scratch.ErrNotEmpty):
		return fs.ErrNotEmpty
	case errors.Is(err, scratch.ErrWriting):
		return fs.ErrWriting
	case errors.Is(err, scratch.ErrElsewhere):
		return fs.ErrElsewhere
	case errors.Is(err, scratch.ErrName):
		return fs.ErrName
	case errors.Is(err, scratch.ErrNoFiles):
		return fmt.Errorf("%w: %w", fs.ErrNoFiles, err)
	case errors.Is(err, scratch.ErrUnsupported):
		return fs.ErrUnsupported
	case errors.Is(err, scratch.ErrNoSpace):
		return fmt.Errorf("%w: %w", fs.ErrNoSpace, err)
	case errors.Is(err, scratch.ErrSealed), errors.Is(err, scratch.ErrShrink), errors.Is(err, scratch.ErrPlace):
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	case cache.NoRoom(err):
		return fmt.Errorf("%w: %w", fs.ErrNoRoom, err)
	}
	return err
}

// own returns the attributes of a folder or report without an origin.
func (t *Tree) own(mode uint32) fs.Attr {
	return fs.Attr{Mode: mode, Uid: t.uid, Gid: t.gid, Mtime: t.born, Atime: t.born, Constant: true}
}

// shown returns the attributes of an entry with an origin.
func shown(st sources.Stat) fs.Attr {
	return fs.Attr{
		Mode: st.Mode, Uid: st.Uid, Gid: st.Gid,
		Size: uint64(st.Size), Mtime: st.Mtime, Atime: st.Mtime,
	}
}
