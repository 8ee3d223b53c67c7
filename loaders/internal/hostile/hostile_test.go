// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// notes is a test that takes down what it is told.
type notes struct {
	testing.TB
	all []string
}

func (n *notes) Helper()                   {}
func (n *notes) Errorf(f string, _ ...any) { n.all = append(n.all, f) }

var sink []byte

// TestLook is the control of everybody else's tests: parsers that are wrong are
// found out.
func TestLook(t *testing.T) {
	calls := 0
	for name, c := range map[string]struct {
		parse Parse[int]
		want  string
	}{
		"sound":    {func(io.ReaderAt, int64) (int, error) { return 1, nil }, ""},
		"refuses":  {func(_ io.ReaderAt, size int64) (int, error) { return 0, malformed.At("F", size, "x") }, ""},
		"greedy":   {func(io.ReaderAt, int64) (int, error) { sink = make([]byte, 1<<20); return 1, nil }, "made the parser allocate"},
		"moody":    {func(io.ReaderAt, int64) (int, error) { calls++; return calls, nil }, "first"},
		"other":    {func(io.ReaderAt, int64) (int, error) { return 0, errors.New("x") }, "none of the content"},
		"behind":   {func(_ io.ReaderAt, size int64) (int, error) { return 0, malformed.At("F", size+1, "x") }, "names byte"},
		"before":   {func(io.ReaderAt, int64) (int, error) { return 0, malformed.At("F", -1, "x") }, "names byte"},
		"longwind": {func(io.ReaderAt, int64) (int, error) { return 0, &malformed.Error{Msg: strings.Repeat("x", 9999)} }, "the error has"},
	} {
		n := &notes{}
		_, _ = c.parse.Look(n, []byte("0123"), 100)
		if len(n.all) == 0 && c.want != "" || len(n.all) > 0 && (c.want == "" || !strings.Contains(n.all[0], c.want)) {
			t.Errorf("%s: %q, want %q", name, n.all, c.want)
		}
	}
	n := &notes{}
	var refusing Parse[int] = func(io.ReaderAt, int64) (int, error) { return 0, malformed.At("F", 2, "x") }
	refusing.Refuses(n, nil, 9, 2, "x")
	if len(n.all) > 0 {
		t.Errorf("%q", n.all)
	}
	refusing.Refuses(n, nil, 9, 3, "x")
	refusing.Refuses(n, nil, 9, 2, "y")
	Parse[int](func(io.ReaderAt, int64) (int, error) { return 1, nil }).Refuses(n, nil, 9, 2, "x")
	if len(n.all) != 3 {
		t.Errorf("%q", n.all)
	}
}

func TestPadded(t *testing.T) {
	r := &padded{begin: []byte("0123"), size: 6}
	for _, c := range []struct {
		at   int64
		want string
		err  error
	}{{0, "012", nil}, {2, "23\x00", nil}, {3, "3\x00\x00", nil}, {4, "\x00\x00", io.EOF}, {6, "", io.EOF}, {1 << 40, "", io.EOF}} {
		b := []byte("???")
		n, err := r.ReadAt(b, c.at)
		if string(b[:n]) != c.want || err != c.err {
			t.Errorf("at %d: %q, %v, want %q", c.at, b[:n], err, c.want)
		}
	}
	if _, err := r.ReadAt(nil, -1); err == nil {
		t.Error("an offset of -1 is taken")
	}
}
