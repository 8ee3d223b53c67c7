// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/loaders/npy"
	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/workers/call"
)

// dtypes are the names of datatypes in files.
var dtypes = map[call.Datatype]tensors.DType{
	call.BOOL: tensors.BOOL, call.UINT8: tensors.U8, call.UINT16: tensors.U16, call.UINT32: tensors.U32, call.UINT64: tensors.U64,
	call.INT8: tensors.I8, call.INT16: tensors.I16, call.INT32: tensors.I32, call.INT64: tensors.I64,
	call.FP16: tensors.F16, call.BF16: tensors.BF16, call.FP32: tensors.F32, call.FP64: tensors.F64,
}

// description is what a file says of the tensor in it; the zero value says nothing.
type description struct {
	dtype string // of safetensors; "": not said
	shape []int64
	said  bool // shape is
}

// check compares it with what a call says.
func (d description) check(t call.Tensor) error {
	want, ok := dtypes[t.Datatype]
	if d.dtype != "" && (!ok || d.dtype != want.String()) {
		return fmt.Errorf("%w: it is %s there, %v in the call", ErrMismatch, shorten(d.dtype), t.Datatype)
	}
	if d.said && !slices.Equal(d.shape, t.Shape) {
		return fmt.Errorf("%w: its shape is %v there, %v in the call", ErrMismatch, d.shape, t.Shape)
	}
	return nil
}

// described reads user.modelfs.dtype and .shape, where a file has them.
func described(f *os.File) description {
	var d description
	d.dtype, _ = attribute(f, "user.modelfs.dtype")
	if text, ok := attribute(f, "user.modelfs.shape"); ok {
		d.said = json.Unmarshal([]byte(text), &d.shape) == nil && len(d.shape) <= 64
	}
	return d
}

func attribute(f *os.File, name string) (string, bool) {
	b := make([]byte, 2048)
	n, err := again(func() (int, error) { return unix.Fgetxattr(int(f.Fd()), name, b) })
	if err != nil || n == 0 {
		return "", false // not there, or none that says anything
	}
	return string(b[:n]), true
}

func isNPY(p Place) bool { return p.kind == inMount && strings.HasSuffix(p.path, ".npy") }

// readNPY reads the header of an .npy file that has row-major, little-endian data.
func readNPY(f *os.File, p Place, size int64) (npy.Header, error) {
	h, err := npy.Read(io.NewSectionReader(f, 0, size), 0, size)
	switch {
	case err != nil:
		return npy.Header{}, fmt.Errorf("%s: %w: %w", p, ErrMismatch, err)
	case h.Columns:
		return npy.Header{}, fmt.Errorf("%s: %w: its data are in column-major (Fortran) order", p, ErrMismatch)
	case h.Swapped:
		return npy.Header{}, fmt.Errorf("%s: %w: its data are big-endian", p, ErrMismatch)
	}
	return h, nil
}

var errTooLarge = errors.New("more bytes than 63 bits can count")

// bytesOf is how many bytes a tensor of fixed-size elements has; -1 for BYTES.
func bytesOf(t call.Tensor) (int64, error) {
	if t.Datatype == call.BYTES {
		return -1, nil
	}
	n := uint64(t.Datatype.Size())
	empty := false
	for _, d := range t.Shape {
		if d < 0 {
			return 0, fmt.Errorf("%w: its shape is %v", ErrMismatch, t.Shape)
		}
		empty = empty || d == 0
	}
	if empty {
		return 0, nil
	}
	for _, d := range t.Shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > 1<<63-1 {
			return 0, fmt.Errorf("%w: %v of %v: %w", ErrMismatch, t.Shape, t.Datatype, errTooLarge)
		}
		n = lo
	}
	return int64(n), nil
}
