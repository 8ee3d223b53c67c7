// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package ggmltype has GGML's numbers of the types of tensors, which its files
// share: GGUF and what came before it.
package ggmltype

import "github.com/modelfs/modelfs/tensors"

// Of returns the type of a number, as in the enum ggml_type of ggml's ggml.h.
func Of(number uint32) (tensors.DType, bool) {
	d, ok := types[number]
	return d, ok
}

// types are by number. 4, 5, 31 to 33 and 36 to 38 were removed.
var types = map[uint32]tensors.DType{
	0: tensors.F32, 1: tensors.F16, 2: tensors.Q4_0, 3: tensors.Q4_1,
	6: tensors.Q5_0, 7: tensors.Q5_1, 8: tensors.Q8_0, 9: tensors.Q8_1,
	10: tensors.Q2_K, 11: tensors.Q3_K, 12: tensors.Q4_K, 13: tensors.Q5_K, 14: tensors.Q6_K, 15: tensors.Q8_K,
	16: tensors.IQ2_XXS, 17: tensors.IQ2_XS, 18: tensors.IQ3_XXS, 19: tensors.IQ1_S, 20: tensors.IQ4_NL,
	21: tensors.IQ3_S, 22: tensors.IQ2_S, 23: tensors.IQ4_XS,
	24: tensors.I8, 25: tensors.I16, 26: tensors.I32, 27: tensors.I64, 28: tensors.F64,
	29: tensors.IQ1_M, 30: tensors.BF16, 34: tensors.TQ1_0, 35: tensors.TQ2_0,
	39: tensors.MXFP4, 40: tensors.NVFP4, 41: tensors.Q1_0, 42: tensors.Q2_0,
}
