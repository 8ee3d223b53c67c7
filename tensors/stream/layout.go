// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/modelfs/modelfs/tensors"
)

// The file, see docs/streams.md.
const (
	magic   = "MFSTREAM"
	version = 1

	atVersion = 8
	atHeader  = 12
	atSlots   = 16
	atRank    = 20
	atFrame   = 24
	atStride  = 32
	atDType   = 40
	atShape   = 64

	atWake       = 256
	atState      = 260
	atHead       = 264
	atGeneration = 272
	atProducer   = 280

	atSlot     = 512 // a row for each slot
	slotRow    = 64
	atSequence = 0 // in a row
	atTime     = 8

	fixedSize = atSlot
	dtypeSize = atShape - atDType
	page      = 4096
)

// What a stream can be at the most.
const (
	MinSlots = 2
	MaxSlots = 65536
	MaxRank  = 16
)

// lastFrame is the largest number whose double is one.
const lastFrame = 1<<63 - 1

// The states.
const (
	stateOpen = iota
	stateClosed
	stateReplaced
)

var le = binary.LittleEndian

// layout is what never changes in a file.
type layout struct {
	dtype  tensors.DType
	shape  []int64
	slots  int64
	frame  int64 // bytes
	stride int64
	header int64
}

// newLayout is that of a new stream.
func newLayout(dtype tensors.DType, shape []int64, slots int) (layout, error) {
	if slots < MinSlots || slots > MaxSlots {
		return layout{}, fmt.Errorf("%d slots, %d to %d are possible: %w", slots, MinSlots, MaxSlots, ErrLayout)
	}
	if len(shape) > MaxRank {
		return layout{}, fmt.Errorf("%d dimensions, %d are possible: %w", len(shape), MaxRank, ErrLayout)
	}
	frame, err := dtype.NBytes(shape)
	if err != nil {
		return layout{}, fmt.Errorf("%w: %w", ErrLayout, err)
	}
	if frame == 0 {
		return layout{}, fmt.Errorf("frames of %v are empty: %w", shape, ErrLayout)
	}
	l := layout{dtype: dtype, shape: slices.Clone(shape), slots: int64(slots), frame: frame}
	l.header = roundUp(atSlot + slotRow*l.slots)
	if frame > (math.MaxInt64-l.header)/l.slots-page {
		return layout{}, fmt.Errorf("%d frames of %d bytes are over 63 bits: %w", slots, frame, ErrLayout)
	}
	l.stride = roundUp(frame)
	return l, nil
}

// size is that of the file.
func (l layout) size() int64 { return l.header + l.slots*l.stride }

func (l layout) equal(o layout) bool {
	return l.dtype == o.dtype && slices.Equal(l.shape, o.shape) && l.slots == o.slots && l.stride == o.stride && l.header == o.header
}

// slot is where frame n lies: its row, and its bytes.
func (l layout) slot(n uint64) (row, from int64) {
	i := int64((n - 1) % uint64(l.slots))
	return atSlot + slotRow*i, l.header + l.stride*i
}

// encode makes the first bytes of a new file, fixedSize of them; what is left out
// is zero.
func (l layout) encode() []byte {
	b := make([]byte, fixedSize)
	copy(b, magic)

	le.PutUint32(b[atVersion:], version)
	le.PutUint32(b[atHeader:], uint32(l.header))
	le.PutUint32(b[atSlots:], uint32(l.slots))
	le.PutUint32(b[atRank:], uint32(len(l.shape)))
	le.PutUint64(b[atFrame:], uint64(l.frame))
	le.PutUint64(b[atStride:], uint64(l.stride))
	copy(b[atDType:atShape], l.dtype.String())
	for i, n := range l.shape {
		le.PutUint64(b[atShape+8*i:], uint64(n))
	}
	return b
}

// parse reads the first fixedSize bytes of a file of size bytes. Whoever wrote them
// may mean harm: everything that is used later is checked here, once, and kept.
func parse(b []byte, size int64) (layout, error) {
	if len(b) < fixedSize || string(b[:len(magic)]) != magic {
		return layout{}, fmt.Errorf("it does not begin with %s: %w", magic, ErrNotStream)
	}

	if v := le.Uint32(b[atVersion:]); v != version {
		return layout{}, fmt.Errorf("version %d, known here is %d: %w", v, version, ErrNotStream)
	}
	name, _, _ := bytes.Cut(b[atDType:atShape], []byte{0})
	dtype, ok := tensors.ParseDType(string(name))
	if !ok {
		return layout{}, fmt.Errorf("dtype %q at byte %d is not known: %w", name, atDType, ErrNotStream)
	}
	rank := le.Uint32(b[atRank:])
	if rank > MaxRank {
		return layout{}, fmt.Errorf("%d dimensions at byte %d, %d are possible: %w", rank, atRank, MaxRank, ErrNotStream)
	}
	shape := make([]int64, rank)
	for i := range shape {
		shape[i] = int64(le.Uint64(b[atShape+8*i:]))
	}
	slots := le.Uint32(b[atSlots:])
	l, err := newLayout(dtype, shape, int(min(slots, MaxSlots+1)))
	if err != nil {
		return layout{}, fmt.Errorf("%w: %w", ErrNotStream, err)
	}
	l.header, l.stride = int64(le.Uint32(b[atHeader:])), int64(le.Uint64(b[atStride:]))
	switch {
	case int64(le.Uint64(b[atFrame:])) != l.frame:
		return layout{}, fmt.Errorf("frames of %d bytes at byte %d, %s%v has %d: %w", le.Uint64(b[atFrame:]), atFrame, dtype, shape, l.frame, ErrNotStream)
	case l.header < atSlot+slotRow*l.slots || l.header%page != 0:
		return layout{}, fmt.Errorf("a header of %d bytes at byte %d, with %d slots: %w", l.header, atHeader, slots, ErrNotStream)
	case l.stride < l.frame || l.stride%page != 0:
		return layout{}, fmt.Errorf("slots of %d bytes at byte %d, a frame has %d: %w", l.stride, atStride, l.frame, ErrNotStream)
	case l.header > size || l.stride > (size-l.header)/l.slots:
		return layout{}, fmt.Errorf("the file has %d bytes, %d slots of %d bytes and a header of %d need more: %w", size, slots, l.stride, l.header, ErrNotStream)
	}
	return l, nil
}

// roundUp is for numbers that are at least a page below the largest one.
func roundUp(n int64) int64 { return (n + page - 1) &^ (page - 1) }
