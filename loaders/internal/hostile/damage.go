// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// Cut cuts a sound file off at every byte: what is left is refused. So is one that
// loses the end of its header while it is read.
func (p Parse[T]) Cut(t *testing.T, file []byte, header int) {
	t.Helper()
	if _, err := p.Look(t, file, int64(len(file))); err != nil {
		t.Fatal(err)
	}
	for n := range file {
		if _, err := p.Look(t, file[:n], int64(n)); err == nil {
			t.Errorf("the first %d of %d bytes are taken", n, len(file))
		}
		if _, err := p(bytes.NewReader(file[:n]), int64(len(file))); err == nil && n < header {
			t.Errorf("a header of %d bytes ends after %d, and is taken", header, n)
		}
	}
}

// Flip flips every bit of a sound file's first n bytes. Whatever is still taken is
// checked.
func (p Parse[T]) Flip(t *testing.T, file []byte, n int, check func(T)) {
	t.Helper()
	for i := range n * 8 {
		flipped := slices.Clone(file)
		flipped[i/8] ^= 1 << (i % 8)
		if v, err := p.Look(t, flipped, int64(len(flipped))); err == nil {
			check(v)
		}
	}
}

var errDevice = errors.New("input/output error")

// failing fails its n-th call, and that one alone. The others give few bytes, and
// an error with them, as io.ReaderAt allows.
type failing struct {
	r     io.ReaderAt
	n     int
	step  int
	calls int
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	f.calls++
	if f.calls == f.n {
		return 0, errDevice
	}
	n, err := f.r.ReadAt(p[:min(len(p), f.step)], off)
	if err == nil && n < len(p) {
		err = errDevice
	}
	return n, err
}

// Fail has each read of a sound file fail once: that is an error of reading, not
// of the content. step is how many bytes a read gives; the more reads there are,
// the more places fail.
func (p Parse[T]) Fail(t *testing.T, file []byte, step int) {
	t.Helper()
	for n := 1; ; n++ {
		r := &failing{r: bytes.NewReader(file), n: n, step: step}
		_, err := p(r, int64(len(file)))
		if r.calls < n {
			if err != nil {
				t.Errorf("without a failing read: %v", err)
			}
			if n < 3 {
				t.Errorf("%d reads are too few for this test", n-1)
			}
			return
		}
		var w *malformed.Error
		if !errors.Is(err, errDevice) || errors.As(err, &w) {
			t.Errorf("the %d. read failed: %v", n, err)
		}
	}
}
