// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"errors"
	"fmt"
	"io"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// ahead is how much a window reads at least, in bytes: the header of a member and
// what comes before it.
const ahead = 512

// window reads small pieces of a file that lie near each other.
type window struct {
	r    io.ReaderAt
	size int64 // of the file
	at   int64 // of buf
	buf  []byte
	room []byte
}

// bytes returns n bytes, which are valid until the next call. n is small: what the
// caller has of it from the file is bounded by the number's own width, 16 bits.
func (w *window) bytes(at, n int64) ([]byte, error) {
	if at < 0 || n > w.size-at {
		return nil, malformed.At(format, max(0, min(at, w.size)), "%d bytes are needed, %d are left", n, max(0, w.size-max(0, at)))
	}
	if at < w.at || at+n > w.at+int64(len(w.buf)) {
		if err := w.read(at, n); err != nil {
			return nil, err
		}
	}
	return w.buf[at-w.at:][:n], nil
}

func (w *window) read(at, n int64) error {
	want := min(max(n, ahead), w.size-at)
	if int64(cap(w.room)) < want {
		w.room = make([]byte, want)
	}
	buf := w.room[:want]
	w.buf = nil
	got, err := w.r.ReadAt(buf, at)
	if int64(got) < n {
		if err == nil || errors.Is(err, io.EOF) {
			return malformed.At(format, at+int64(got), "the file ends here, %d bytes early", n-int64(got))
		}
		return fmt.Errorf("read at byte %d: %w", at, err)
	}
	w.at, w.buf = at, buf[:got]
	return nil
}
