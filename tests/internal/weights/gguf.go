// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package weights

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// ggml are the numbers of some types, as in ggml's docs/gguf.md.
var ggml = map[string]uint32{
	"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14, "I8": 24, "I32": 26, "BF16": 30,
}

// alignment is what the data of a GGUF file are aligned to unless it says other.
const alignment = 32

// GGUF is a file of version 3 with the tensors and two keys.
func GGUF(ts ...Tensor) []byte {
	b := GGUFStart(3, uint64(len(ts)), 2)
	b = append(ggufText(b, "general.architecture"), 8, 0, 0, 0)
	b = ggufText(b, "llama")
	b = append(ggufText(b, "general.alignment"), 4, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, alignment)
	at := 0
	for _, t := range ts {
		number, ok := ggml[t.DType]
		if !ok {
			panic(fmt.Sprintf("weights: no GGML type %s", t.DType))
		}
		b = ggufText(b, t.Name)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Shape)))
		for _, n := range slices.Backward(t.Shape) {
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
		}
		b = binary.LittleEndian.AppendUint32(b, number)
		b = binary.LittleEndian.AppendUint64(b, uint64(at))
		at += padded(len(t.Data))
	}
	b = append(b, make([]byte, padded(len(b))-len(b))...)
	for _, t := range ts {
		b = append(b, t.Data...)
		b = append(b, make([]byte, padded(len(t.Data))-len(t.Data))...)
	}
	return b
}

// GGUFStart is the beginning of a file that claims to have so many tensors and
// keys.
func GGUFStart(version uint32, tensors, keys uint64) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("GGUF"), version)
	b = binary.LittleEndian.AppendUint64(b, tensors)
	return binary.LittleEndian.AppendUint64(b, keys)
}

func ggufText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

func padded(n int) int { return (n + alignment - 1) / alignment * alignment }
