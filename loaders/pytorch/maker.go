// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"context"
	"io"

	"github.com/modelfs/modelfs/tensors"
)

// maker makes a tensor's bytes of those in the file: their elements in row-major
// order, each in the other byte order, or with another sign.
type maker struct {
	lie  tensors.Tensor // as they lie in the file
	part int            // bytes to turn round; 1: none
	// signs are the bytes within a group of elements' bytes that hold a sign to be
	// changed: of a complex number's second half, of both, or of a number.
	group int
	signs []int
}

// maker returns nil where the bytes lie in the file as they are.
func (f *file) maker(t *tensor, lie *tensors.Tensor) tensors.Maker {
	m := &maker{lie: *lie, part: 1, group: int(t.dtype.width)}
	if f.big {
		m.part = int(t.dtype.part)
	}
	if t.dtype.kind == complexKind {
		half := m.group / 2
		if t.neg {
			m.signs = append(m.signs, half-1)
		}
		if t.neg != t.conj {
			m.signs = append(m.signs, m.group-1)
		}
	} else if t.neg {
		m.signs = []int{m.group - 1}
	}
	if m.part == 1 && m.signs == nil {
		return nil
	}
	return m
}

// piece is how many bytes are changed between two looks at the context: a multiple
// of every element's width.
const piece = 1 << 20

// Make implements tensors.Maker.
func (m *maker) Make(ctx context.Context, file io.ReaderAt, dst []byte) error {
	if err := tensors.Gather(ctx, dst, file, &m.lie); err != nil {
		return err
	}
	for len(dst) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(piece, len(dst))
		m.change(dst[:n])
		dst = dst[n:]
	}
	return nil
}

func (m *maker) change(b []byte) {
	if m.part > 1 {
		for i := 0; i+m.part <= len(b); i += m.part {
			for x, y := i, i+m.part-1; x < y; x, y = x+1, y-1 {
				b[x], b[y] = b[y], b[x]
			}
		}
	}
	for _, at := range m.signs {
		for i := at; i < len(b); i += m.group {
			b[i] ^= 0x80
		}
	}
}
