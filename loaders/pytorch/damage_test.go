// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

func soundFiles() map[string][]byte {
	return map[string][]byte{"archive": sound(), "TorchScript": script(), "legacy": soundLegacy()}
}

func TestDamaged(t *testing.T) {
	for name, file := range soundFiles() {
		t.Run(name, func(t *testing.T) {
			size := int64(len(file))
			header := 0
			if name == "legacy" {
				header = len(file) - 16
			}
			parse.Cut(t, file, header)
			parse.Flip(t, file, len(file), func(ix *tensors.Index) { check(t, ix, size) })
		})
	}
}

func TestFailingReads(t *testing.T) {
	for name, file := range soundFiles() {
		t.Run(name, func(t *testing.T) {
			step := len(file)
			if name == "legacy" {
				step = 300
			}
			parse.Fail(t, file, step)
		})
	}
}

// far is a file that says it is large, and has few bytes.
type far struct {
	begin, end []byte
	size       int64
	read       int64
}

func (f *far) ReadAt(p []byte, off int64) (int, error) {
	if off >= f.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.size-off)]
	f.read += int64(len(p))
	clear(p)
	if off < int64(len(f.begin)) {
		copy(p, f.begin[off:])
	}
	if at := f.size - int64(len(f.end)); off+int64(len(p)) > at {
		if off >= at {
			copy(p, f.end[off-at:])
		} else {
			copy(p[at-off:], f.end)
		}
	}
	return len(p), nil
}

// TestLargeFile: a storage of 1 TiB, in ZIP64, is not read.
func TestLargeFile(t *testing.T) {
	const n = 1 << 40
	var data int64
	parts := modelParts(start().tensor("big", n/4, 1<<37, []int64{1 << 36}, []int64{1}).stop(), 0)
	parts = append(parts, part{name: folder + "data/big", edit: func(w *written) {
		data = w.at + int64(len(w.local)+len(w.extra))
	}})
	all := zipped(parts...)
	descriptor := append([]byte(descriptorSignature), make([]byte, 20)...)
	le.PutUint64(descriptor[8:], n)
	le.PutUint64(descriptor[16:], n)
	_, dir, _ := bytes.Cut(all, []byte(entrySignature))
	dir = append([]byte(entrySignature), dir...)
	dir = slices.Clone(dir[:len(dir)-endSize-locatorSize-end64Size])
	last := bytes.LastIndex(dir, []byte(entrySignature))
	set32(dir[last:], 20, 1<<32-1)
	set32(dir[last:], 24, 1<<32-1)
	set16(dir[last:], 30, 20)
	dir = append(dir, 1, 0, 16, 0)
	dir = le.AppendUint64(le.AppendUint64(dir, n), n)
	end := slices.Concat(descriptor, ended(nil, dir, len(parts)))
	size := data + n + int64(len(end))
	// The ends of the directory count from the file's begin.
	ends := end[len(descriptor)+len(dir):]
	le.PutUint64(ends[48:], uint64(data+n+24))
	le.PutUint64(ends[end64Size+8:], uint64(data+n+24+int64(len(dir))))
	le.PutUint32(ends[end64Size+locatorSize+16:], 1<<32-1)
	f := &far{begin: all[:data], end: end, size: size}
	var ix *tensors.Index
	var err error
	taken := hostile.Allocated(hostile.Fixed, func() {
		f.read = 0
		ix, err = parse(f, size)
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, ix, size)
	if f.read > 100_000 || taken > hostile.Fixed {
		t.Errorf("%d bytes were read, %d allocated", f.read, taken)
	}
	if got := ix.Tensors[0]; got.Offset != data+1<<39 || got.NBytes != 1<<38 {
		t.Errorf("%+v", got)
	}
}

// TestPickleLimit: nothing is read behind 64 MiB.
func TestPickleLimit(t *testing.T) {
	b := slices.Concat([]byte("\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.N.\x8e"), []byte{0, 0, 0, 4, 0, 0, 0, 0})
	_, err := parse(&far{begin: b, size: 1 << 40}, 1<<40)
	var w *malformed.Error
	if !errors.As(err, &w) || w.Msg != "a length of 67108864, 67108832 bytes are left" {
		t.Error(err)
	}
}
