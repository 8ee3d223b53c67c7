// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// magic is "ggml" as a number; the bytes are in the other order.
const magic = 0x67676d6c

// old are the magics of llama.cpp before GGUF, and what they were for.
var old = map[uint32]string{
	0x67676d66: "GGMF, llama.cpp's format of March 2023",
	0x67676a74: "GGJT, llama.cpp's format before GGUF",
	0x67676c61: "GGLA, llama.cpp's format of LoRA adapters before GGUF",
}

// Is says whether a file begins with the magic of this format or of one of
// llama.cpp's old ones: PyTorch's files are named ".bin" as well. The error is one
// of reading; a file that is too short is none.
func Is(r io.ReaderAt) (bool, error) {
	var b [4]byte
	if n, err := r.ReadAt(b[:], 0); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, fmt.Errorf("read the magic: %w", err)
	}
	m := binary.LittleEndian.Uint32(b[:])
	return m == magic || old[m] != "", nil
}

// checkMagic is about a file's first number.
func checkMagic(m uint32) error {
	switch {
	case m == magic:
		return nil
	case old[m] != "":
		return malformed.At(format, 0, "it is %s, which is not read: convert it to GGUF with llama.cpp", old[m])
	}
	return malformed.At(format, 0, "it begins with %#08x instead of %#08x", m, uint32(magic))
}
