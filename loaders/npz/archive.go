// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/loaders/npy"
	"github.com/modelfs/modelfs/tensors"
)

const format = "NPZ"

// maxMembers bounds what the archive's directory may take in memory. A directory
// entry has at least 46 bytes, so the count is bounded by the bytes as well.
const maxMembers = 1 << 20

// Parse reads the archive's directory and each member's header. The tensors are
// in the directory's order, named after the members without ".npy".
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	track := &reader{r: r, size: size}
	z, err := zip.NewReader(track, size)
	if track.err != nil {
		return nil, fmt.Errorf("read the archive: %w", track.err)
	}
	if err != nil {
		return nil, malformed.At(format, size, "no directory of a zip archive: %v", err)
	}
	if len(z.File) > maxMembers {
		return nil, malformed.At(format, size, "%d members, over the limit of %d", len(z.File), maxMembers)
	}
	ix := &tensors.Index{}
	seen := make(map[string]bool)
	left := size // all members together are no larger than the file
	for _, m := range z.File {
		t, err := member(m, track, size)
		if track.err != nil {
			return nil, fmt.Errorf("read %.100q: %w", m.Name, track.err)
		}
		if err != nil {
			return nil, err
		}
		if left -= int64(m.UncompressedSize64); left < 0 {
			return nil, malformed.At(format, t.Offset, "the member %.100q lies where others do: together they are larger than the file", m.Name)
		}
		if seen[t.Name] {
			return nil, malformed.At(format, t.Offset, "the array %.100q is there twice", t.Name)
		}
		seen[t.Name] = true
		t.File = name
		ix.Tensors = append(ix.Tensors, t)
	}
	return ix, nil
}

// encrypted is the flag of a member that nobody can read in place.
const encrypted = 1

func member(m *zip.File, r io.ReaderAt, size int64) (tensors.Tensor, error) {
	at, err := m.DataOffset()
	if err != nil {
		return tensors.Tensor{}, malformed.At(format, size, "the member %.100q: %v", m.Name, err)
	}
	array, ok := strings.CutSuffix(m.Name, ".npy")
	fail := func(msg string, args ...any) (tensors.Tensor, error) {
		return tensors.Tensor{}, malformed.At(format, at, "the member %.100q "+msg, append([]any{m.Name}, args...)...)
	}
	length := m.UncompressedSize64
	switch {
	case at > size:
		return tensors.Tensor{}, malformed.At(format, size, "the member %.100q begins at byte %d, the file ends here", m.Name, at)
	case !ok:
		return fail("is no array: its name does not end in .npy")
	case m.Method != zip.Store:
		return fail("is compressed; numpy.savez writes it as it is")
	case m.Flags&encrypted != 0:
		return fail("is encrypted")
	case m.CompressedSize64 != length:
		return fail("is stored in %d bytes and has %d", m.CompressedSize64, length)
	case length > uint64(size) || at > size-int64(length):
		return fail("has %d bytes, %d are left", length, size-at)
	}
	t, err := npy.Array(array, r, at, int64(length))
	var wrong *malformed.Error
	if errors.As(err, &wrong) {
		return tensors.Tensor{}, malformed.At(format, wrong.Offset, "the member %.100q: %s", m.Name, wrong.Msg)
	}
	return t, err
}

// reader keeps the errors of reading apart from those of the archive, whose
// directory may lead anywhere, also before the file's first byte.
type reader struct {
	r    io.ReaderAt
	size int64
	err  error
}

func (t *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= t.size {
		return 0, io.EOF
	}
	n, err := t.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}
