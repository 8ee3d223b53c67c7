// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"context"
	"encoding/binary"
	"io"
	"math"

	"github.com/modelfs/modelfs/loaders/internal/window"
	"github.com/modelfs/modelfs/tensors"
)

// maxCounted is how many bytes of packed numbers are looked at while a file is
// parsed. Behind it their count and range are left to who makes the tensor.
const maxCounted = 64 << 20

// makerPage is what a Maker reads at once.
const makerPage = 64 << 10

// numbers is a repeated field of numbers in a message, each a field of its own or
// many in a packed one.
type numbers struct {
	field  uint64
	count  int64 // of those whose width is known, or that are fields of their own
	packed int64 // bytes of packed varints
	pieces int
	at     int64 // of the first piece
}

// number adds a field to its numbers, which are of a wire type.
func (p *parser) number(f field, wire byte, to *numbers) error {
	n := int64(1)
	if f.wire == wireBytes {
		n = f.value.size()
		if width := widthOf(wire); width == 0 {
			to.packed += n
			n = 0
		} else {
			if n%width != 0 {
				return p.Errorf(f.at, "%d bytes of numbers of %d bytes", n, width)
			}
			n /= width
		}
		if f.value.size() == 0 {
			return nil
		}
	} else if err := p.is(f, wire); err != nil {
		return err
	}
	if to.pieces++; to.pieces == 1 {
		to.field, to.at = f.number, f.value.at
	}
	to.count += n
	return nil
}

// single is one number as a field of its own.
func single(number uint64, at span) numbers {
	return numbers{field: number, count: 1, pieces: 1, at: at.at}
}

// widthOf is how many bytes a number of a wire type has; 0: it says so itself.
func widthOf(wire byte) int64 {
	switch wire {
	case wireI32:
		return 4
	case wireI64:
		return 8
	}
	return 0
}

// typed places a tensor whose data are numbers.
func (p *parser) typed(out *tensors.Tensor, t *tensor, kind dataType) error {
	v := &t.values[kind.typed]
	want := out.NBytes / kind.width
	wrong := func(has int64) error {
		return p.Errorf(v.at, "the tensor %.100q has %d numbers, %s%v needs %d", out.Name, has, out.DType, out.Shape, want)
	}
	if widthOf(typedFields[kind.typed].wire) > 0 {
		if v.count != want {
			return wrong(v.count)
		}
		if v.pieces == 1 {
			out.Offset = v.at
			return nil
		}
	}
	m := &made{message: t.at, field: v.field, dataType: t.dataType, count: want}
	if v.packed <= p.counted {
		p.counted -= v.packed
		n, err := m.run(context.Background(), &p.scanner, nil)
		if err != nil {
			return err
		}
		if n != want {
			return wrong(n)
		}
	} else if most := v.count + v.packed; want > most || want < v.count+v.packed/maxVarint {
		return wrong(most)
	}
	out.Maker = m
	return nil
}

// list counts the numbers of a list that has no shape.
func (p *parser) list(t *tensor, v *numbers) error {
	t.dims = []int64{v.count}
	if v.packed == 0 {
		return nil
	}
	if p.counted -= v.packed; p.counted < 0 {
		return p.Errorf(t.at.at, "a list of numbers is %d bytes long, which is too much", v.packed)
	}
	m := &made{message: t.at, field: v.field, dataType: typeInt64, count: math.MaxInt64}
	n, err := m.run(context.Background(), &p.scanner, nil)
	t.dims[0] = n
	return err
}

// made makes a tensor of the numbers in one field of a message, by scanning the
// message again.
type made struct {
	message  span
	field    uint64
	dataType int32
	count    int64 // of the numbers
}

// Make implements tensors.Maker.
func (m *made) Make(ctx context.Context, file io.ReaderAt, dst []byte) error {
	s := &scanner{Window: window.New(format, file, m.message.end, 2, makerPage)}
	n, err := m.run(ctx, s, dst)
	if err == nil && n != m.count {
		err = s.Errorf(m.message.at, "a tensor has %d numbers, %d are needed", n, m.count)
	}
	return err
}

// run reads the numbers, checks them, and puts them into dst if there is one. It
// says how many there are, which is not more than there should be.
func (m *made) run(ctx context.Context, s *scanner, dst []byte) (int64, error) {
	kind := dataTypes[m.dataType]
	r := making{scanner: s, kind: kind, dst: dst, left: m.count}
	err := s.each(m.message, func(f field) error {
		if f.number != m.field {
			return nil
		}
		if s.fields%1024 == 0 || f.wire == wireBytes {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		switch wire := typedFields[kind.typed].wire; {
		case f.wire != wireBytes && f.wire != wire:
			return s.is(f, wire)
		case wire == wireVarint && f.wire == wireVarint:
			return r.put(f.n, f.value.at)
		case wire == wireVarint:
			return r.varints(ctx, f.value)
		}
		return r.fixed(ctx, f.value)
	})
	return m.count - r.left, err
}

// making is one run over numbers.
type making struct {
	*scanner
	kind dataType
	dst  []byte // what is left to be filled; nil: nothing is
	left int64  // numbers
}

// varints reads packed ones.
func (r *making) varints(ctx context.Context, m span) error {
	for m.at < m.end {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.Chunk(m.at, m.end)
		if err != nil {
			return err
		}
		for {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				break // it goes on in another page, or is wrong
			}
			if err := r.put(v, m.at); err != nil {
				return err
			}
			b, m.at = b[n:], m.at+int64(n)
		}
		if m.at == m.end {
			return nil
		}
		v, after, err := r.varint(m.at, m.end)
		if err != nil {
			return err
		}
		if err := r.put(v, m.at); err != nil {
			return err
		}
		m.at = after
	}
	return nil
}

// put takes one number, which is at a byte.
func (r *making) put(v uint64, at int64) error {
	k := r.kind
	n := int64(v)
	if k.typed == int32s {
		// An int32 is written as the int64 that it is equal to; some write its 32 bits.
		if n = int64(int32(v)); v>>32 != 0 && uint64(n) != v {
			return r.Errorf(at, "a number of %d in int32_data", int64(v))
		}
	}
	switch {
	case n < k.min || n > k.max:
		return r.Errorf(at, "a number of %d is none of %s", n, k.dtype)
	case r.left == 0:
		return r.Errorf(at, "a tensor has more numbers than it needs")
	}
	r.left--
	if r.dst == nil {
		return nil
	}
	switch k.width {
	case 1:
		r.dst[0] = byte(n)
	case 2:
		binary.LittleEndian.PutUint16(r.dst, uint16(n))
	case 4:
		binary.LittleEndian.PutUint32(r.dst, uint32(n))
	case 8:
		binary.LittleEndian.PutUint64(r.dst, uint64(n))
	}
	r.dst = r.dst[k.width:]
	return nil
}

// fixed copies numbers that lie as they are.
func (r *making) fixed(ctx context.Context, m span) error {
	n := m.size() / r.kind.width
	if n > r.left || n*r.kind.width != m.size() {
		return r.Errorf(m.at, "a tensor has more numbers than it needs")
	}
	r.left -= n
	for m.at < m.end && r.dst != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.Chunk(m.at, m.end)
		if err != nil {
			return err
		}
		n := copy(r.dst, b)
		r.dst, m.at = r.dst[n:], m.at+int64(n)
	}
	return nil
}

// zero makes a number that was left out.
type zero struct{}

// Make implements tensors.Maker.
func (zero) Make(_ context.Context, _ io.ReaderAt, dst []byte) error {
	clear(dst)
	return nil
}
