// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/modelfs/modelfs/tensors"
)

// chunk is how many bytes are read or turned around before the context is asked.
const chunk = 1 << 20

// Fill fills dst, NBytes long, with the array's row-major, little-endian bytes. file
// has the data at Data and is read from there to their end, front to back and every
// byte once, so that it may be what a decompressor gives. What Fill needs besides dst
// is bounded; it ends when ctx does.
func (h *Header) Fill(ctx context.Context, dst []byte, file io.ReaderAt) error {
	var err error
	if h.Columns {
		t := tensors.Tensor{DType: h.DType, Shape: h.Shape, Strides: columns(h.Shape), NBytes: h.NBytes, Offset: h.Data}
		err = tensors.Gather(ctx, dst, file, &t)
	} else {
		err = h.read(ctx, dst, file)
	}
	if err != nil || !h.Swapped {
		return err
	}
	for part := range slices.Chunk(dst, chunk) {
		if err := ctx.Err(); err != nil {
			return err
		}
		h.swap(part)
	}
	return nil
}

// read reads data that are in row-major order.
func (h *Header) read(ctx context.Context, dst []byte, file io.ReaderAt) error {
	at := h.Data
	for part := range slices.Chunk(dst, chunk) {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := file.ReadAt(part, at)
		if n < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read %d bytes at %d: %w", len(part), at, err)
		}
		at += int64(n)
	}
	return nil
}

// swap turns the bytes of every number around; a complex one is two numbers.
func (h *Header) swap(b []byte) {
	_, width := h.DType.Block()
	if h.DType == tensors.C64 || h.DType == tensors.C128 {
		width /= 2
	}
	from, to := binary.BigEndian, binary.LittleEndian
	switch width {
	case 2:
		for ; len(b) >= 2; b = b[2:] {
			to.PutUint16(b, from.Uint16(b))
		}
	case 4:
		for ; len(b) >= 4; b = b[4:] {
			to.PutUint32(b, from.Uint32(b))
		}
	case 8:
		for ; len(b) >= 8; b = b[8:] {
			to.PutUint64(b, from.Uint64(b))
		}
	}
}

// maker makes a big-endian array from the file that it lies in.
type maker struct{ header Header }

// Make is tensors.Maker's.
func (m maker) Make(ctx context.Context, file io.ReaderAt, dst []byte) error {
	return m.header.Fill(ctx, dst, file)
}
