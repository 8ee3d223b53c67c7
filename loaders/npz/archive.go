// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/loaders/npy"
	"github.com/modelfs/modelfs/tensors"
)

const format = "NPZ"

// Limits of the archive's directory, which is read as a whole: its members are what a
// zip archive could have before zip64, its bytes twice what they have as a rule.
const (
	maxMembers   = 1 << 16
	maxDirectory = 32 << 20
)

var errDirectory = errors.New("it is too long")

// Parse reads the archive's directory and each member's header. The tensors are
// in the directory's order, named after the members without ".npy".
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	track := &reader{r: r, size: size, left: maxDirectory}
	z, err := zip.NewReader(track, size)
	track.left = math.MaxInt64
	if errors.Is(track.err, errDirectory) {
		return nil, malformed.At(format, size, "the archive's directory has over %d bytes", maxDirectory)
	}
	if track.err != nil {
		return nil, fmt.Errorf("read the archive: %w", track.err)
	}
	if err != nil {
		return nil, malformed.At(format, size, "no directory of a zip archive: %v", err)
	}
	if len(z.File) > maxMembers {
		return nil, malformed.At(format, size, "%d members, over the limit of %d", len(z.File), maxMembers)
	}
	a := &reading{name: name, r: track, size: size, left: size, seen: make(map[string]bool), inflater: inflater{limit: maxHeaders(len(z.File))}}
	for _, f := range z.File {
		err := a.member(f)
		if track.err != nil {
			return nil, fmt.Errorf("read %.100q: %w", f.Name, track.err)
		}
		if err != nil {
			return nil, err
		}
	}
	if found := a.ix.Findings; len(a.ix.Tensors) == 0 && len(found) > 0 {
		return nil, malformed.At(format, found[0].Offset, "no array is a tensor: %s", found[0].Text)
	}
	return &a.ix, nil
}

// reading is one of an archive.
type reading struct {
	name     string
	r        *reader
	size     int64
	left     int64 // all members together are no larger than the file
	seen     map[string]bool
	inflater inflater
	scratch  []byte
	ix       tensors.Index
}

// member adds a member's array to the index, or a finding.
func (a *reading) member(f *zip.File) error {
	m, err := a.locate(f)
	if err != nil {
		return err
	}
	if a.left -= m.packed; a.left < 0 {
		return malformed.At(format, m.at, "the member %.100q lies where others do: together they are larger than the file", m.name)
	}
	array, ok := strings.CutSuffix(m.name, ".npy")
	if !ok {
		a.found(m.at, "the member %.100q is no array: its name does not end in .npy", m.name)
		return nil
	}
	if a.seen[array] {
		return malformed.At(format, m.at, "the array %.100q is there twice", array)
	}
	a.seen[array] = true
	if err := m.readable(f); err != nil {
		return err
	}
	t, err := a.array(m, array)
	if unfit := (npy.Unfit{}); errors.As(err, &unfit) {
		var wrong *malformed.Error
		errors.As(err, &wrong)
		a.found(wrong.Offset, "%s", wrong.Msg)
		return nil
	}
	if err != nil {
		return err
	}
	t.File = a.name
	a.ix.Tensors = append(a.ix.Tensors, t)
	return nil
}

func (a *reading) found(at int64, msg string, args ...any) {
	a.ix.Findings = append(a.ix.Findings, tensors.Finding{File: a.name, Offset: at, Text: fmt.Sprintf(msg, args...)})
}

// array reads a member's header.
func (a *reading) array(m member, name string) (tensors.Tensor, error) {
	if m.deflated {
		h, err := a.inflater.header(a.r, m)
		if err != nil {
			return tensors.Tensor{}, err
		}
		m.header = h
		return tensors.Tensor{Name: name, DType: h.DType, Shape: h.Shape, NBytes: h.NBytes, Maker: m}, nil
	}
	h, err := npy.Read(a.r, m.at, m.size)
	if err != nil {
		return tensors.Tensor{}, m.wrong(err)
	}
	if end := h.Data + h.NBytes; end < m.at+m.size {
		a.found(end, "the member %.100q: %d bytes follow the array", m.name, m.at+m.size-end)
	}
	return h.Tensor(name), nil
}

// reader keeps the errors of reading apart from those of the archive, whose
// directory may lead anywhere, also before the file's first byte.
type reader struct {
	r    io.ReaderAt
	size int64
	left int64 // how much may be read
	last int64 // where the last read began
	err  error
}

func (t *reader) ReadAt(p []byte, off int64) (int, error) {
	t.last = off
	if off < 0 || off >= t.size {
		return 0, io.EOF
	}
	if t.left -= int64(len(p)); t.left < 0 {
		t.err = errDirectory
		return 0, t.err
	}
	n, err := t.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}
