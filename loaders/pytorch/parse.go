// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

const format = "PyTorch"

// Limits of one parse.
const (
	maxValues   = 56 << 20 // bytes that directory, values and machines may take, roughly
	maxFindings = 1000     // that are kept
	maxUnknown  = 1 << 20  // mentions and calls of what is on no list
)

// tarMagic is where a tar archive says that it is one.
const tarMagic = 257

// Parse lists the tensors of a file of size bytes, in the order in which the pickled
// object holds them. name goes into Tensor.File.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	f := &file{name: name, size: size, window: window{r: r, size: size}, left: maxValues}
	begin, err := f.window.bytes(0, min(size, tarMagic+5))
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(begin, []byte("PK\x03\x04")):
		err = f.archive()
	case looksPickled(begin):
		err = f.legacy()
	case len(begin) == tarMagic+5 && string(begin[tarMagic:]) == "ustar":
		err = malformed.At(format, 0, "it is a tar archive, as torch wrote them before 2017: load it with torch and save it again")
	default:
		err = malformed.At(format, 0, "it is neither a zip archive nor a pickle: it begins with %q", begin[:min(len(begin), 16)])
	}
	if err != nil {
		return nil, err
	}
	return &tensors.Index{Tensors: f.found, Findings: f.allFindings()}, nil
}

// file is one reading of a file: what its parts share.
type file struct {
	name   string
	size   int64
	window window
	left   int64 // of maxValues

	big         bool // the storages are big-endian
	torchScript bool
	globals     map[string]*global
	records     []*record

	found    []tensors.Tensor
	names    map[string]struct{}
	findings []tensors.Finding
	more     int // findings above the limit
}

// charge counts n bytes that are about to be allocated at a byte of the file.
func (f *file) charge(at, n int64) error {
	if f.left -= n; f.left < 0 {
		return malformed.At(format, at, "what is made up to here takes over %d MiB", maxValues>>20)
	}
	return nil
}

// finding notes what nobody can vouch for.
func (f *file) finding(at int64, msg string, args ...any) {
	if len(f.findings) == maxFindings {
		f.more++
		return
	}
	f.findings = append(f.findings, tensors.Finding{File: f.name, Offset: at, Text: fmt.Sprintf(msg, args...)})
}

// allFindings returns them in the file's order.
func (f *file) allFindings() []tensors.Finding {
	slices.SortStableFunc(f.findings, func(a, b tensors.Finding) int { return cmp.Compare(a.Offset, b.Offset) })
	if f.more == 0 {
		return f.findings
	}
	return append(f.findings, tensors.Finding{File: f.name, Text: fmt.Sprintf("%d more findings", f.more)})
}

// pickle reads the pickle from at to end, and what object it makes. load makes
// storages of persistent ids; nil: there are none.
func (f *file) pickle(at, end int64, load func(m *machine, id []value) (value, error)) (root value, after int64, err error) {
	c := cursor.New(format, f.window.r, end)
	if err := c.Skip(uint64(at)); err != nil {
		return nil, 0, err
	}
	m := machine{file: f, Cursor: c, load: load}
	root, err = m.run()
	return root, c.Pos(), err
}
