// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime"
	"testing"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// Limits of what a parser may take. A byte of a header is worth Growth bytes, as
// names, shapes and the maps that find duplicates are kept, and slices are copied
// when they grow; whatever the header says, Fixed is added once.
const (
	Fixed  = 512 << 10
	Growth = 128
)

// maxText is the longest error, in bytes: it is the value of an extended
// attribute, and a line on a terminal.
const maxText = 2 << 10

// Parse is a parser, with the file's name given.
type Parse[T any] func(r io.ReaderAt, size int64) (T, error)

// Allocated is how many bytes f allocates. The runtime and other goroutines are
// counted as well, though not every time: f that seems to take over limit is run
// twice more, and the least counts.
func Allocated(limit uint64, f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least <= limit {
			break
		}
	}
	return least
}

// Look parses a file of size bytes that begins with the given ones; what follows
// them is zero. The parser may take no more memory than the limits, an error has
// to be one of the content and to name a byte of the file, and a second time all
// is the same.
func (p Parse[T]) Look(tb testing.TB, begin []byte, size int64) (T, error) {
	tb.Helper()
	r := io.ReaderAt(bytes.NewReader(begin))
	if size > int64(len(begin)) {
		r = &padded{begin: begin, size: size}
	}
	var first, second T
	var err, again error
	limit := Fixed + Growth*uint64(len(begin))
	if n := Allocated(limit, func() { first, err = p(r, size) }); n > limit {
		tb.Errorf("%d bytes made the parser allocate %d", len(begin), n)
	}
	second, again = p(r, size)
	if !reflect.DeepEqual(first, second) || fmt.Sprint(err) != fmt.Sprint(again) {
		tb.Errorf("first %+v and %v, then %+v and %v", first, err, second, again)
	}
	if err != nil {
		wrong(tb, err, size)
	}
	return first, err
}

// wrong checks an error of the content.
func wrong(tb testing.TB, err error, size int64) {
	tb.Helper()
	var w *malformed.Error
	switch {
	case !errors.As(err, &w):
		tb.Errorf("the reader is sound, and the error is none of the content: %v", err)
	case w.Offset < 0 || w.Offset > size:
		tb.Errorf("the error names byte %d of %d: %v", w.Offset, size, err)
	case len(err.Error()) > maxText:
		tb.Errorf("the error has %d bytes: %.200s…", len(err.Error()), err)
	}
}

// Refuses says whether the file is refused at a byte and with a text.
func (p Parse[T]) Refuses(tb testing.TB, file []byte, size, at int64, msg string) {
	tb.Helper()
	_, err := p.Look(tb, file, size)
	var w *malformed.Error
	if !errors.As(err, &w) {
		tb.Errorf("it gives %v, want an error at byte %d: %s", err, at, msg)
		return
	}
	if w.Offset != at || w.Msg != msg {
		tb.Errorf("at byte %d: %.300s\nwant at byte %d: %s", w.Offset, w.Msg, at, msg)
	}
}

// padded is a file that ends in zeros.
type padded struct {
	begin []byte
	size  int64
}

func (r *padded) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("a negative offset")
	}
	if off >= r.size {
		return 0, io.EOF
	}
	var err error
	if left := r.size - off; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	clear(p)
	if off < int64(len(r.begin)) {
		copy(p, r.begin[off:])
	}
	return len(p), err
}
