// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{ErrStale, syscall.ESTALE},
		{fmt.Errorf("wrapped: %w", ErrNoRoom), syscall.ENOMEM},
		{errors.Join(ErrBusy, errors.New("who")), syscall.EBUSY},
		{context.Canceled, syscall.EINTR},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, syscall.EACCES},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, syscall.ENOENT},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}, syscall.ENFILE},
		{errors.New("anything"), syscall.EIO},
		// ENOSYS from OPEN would end OPEN on the mount.
		{syscall.ENOSYS, syscall.EIO},
	} {
		if got := status(c.err); got != fuse.Status(c.want) {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

// TestEveryErrorHasARow reads errors.go, so that an error that is added there
// cannot be left out of the table.
func TestEveryErrorHasARow(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			names += len(v.Names)
		}
		return true
	})
	rows := 0
	for _, r := range errnos {
		if !errors.As(r.err, new(syscall.Errno)) && r.errno != syscall.EINTR && r.err != os.ErrNotExist && r.err != os.ErrPermission {
			rows++
		}
	}
	if names != rows {
		t.Errorf("errors.go has %d errors, the table has rows for %d", names, rows)
	}
}
