// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package convert turns tensors of one element type into tensors of F32, F16 or
// BF16: in memory (From), from a file (Read), or as the description of a tensor that
// is made when it is wanted (Tensor).
//
// Numbers become what torch's Tensor.to makes of them, bit for bit:
//
//   - to the nearest, ties to even; too large ones become infinite. Nothing saturates,
//     nothing is flushed to zero.
//   - F64, integers and F8 go to F16 and BF16 by way of F32, and are rounded twice.
//     U64 and I64 are rounded once on their way to F32.
//   - a BOOL is 0 or 1, any byte but zero counting as true. Complex numbers, F4 and F6
//     have no conversion.
//
// NaN becomes NaN. Where torch gives the same one on every processor, so does this
// package: to F16 it keeps its sign and the upper bits of its payload, and so from
// F64 to F32; from BF16 it stays as it is; from F16 and F8 to BF16 it is 0x7fc0; from
// F8_E8M0 and the FNUZ types to F32 it is 0x7f800001. Elsewhere torch has one answer
// for most of a tensor and another for its last elements, or others on other
// processors, and this package takes one of them: 0x7fc0 for BF16 from F32 and F64,
// sign and payload from F16 to F32, and so to F16 from BF16, F8_E4M3 and F8_E5M2.
//
// GGML's block types become what gguf.quants.dequantize of the Python package gguf
// makes of them: every finite value and infinity bit for bit, and NaN where that has
// NaN. F16 and BF16 are the F32 values rounded. These types have no conversion:
// Q8_1 and Q8_K, which are no types of weights, Q1_0 and Q2_0, and IQ1, IQ2 and IQ3
// with their code books of hundreds of entries.
//
// Everything here is safe for concurrent use. There is no assembly: the loops keep
// free of bounds checks, take several elements in one register, and look up in
// tables, which are made once.
package convert
