// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import "github.com/modelfs/modelfs/tensors"

// types are schema.fbs's TensorType, by number. STRING (5), RESOURCE (13) and
// VARIANT (14) have no bytes, INT2 (19) has no type here.
var types = map[int8]tensors.DType{
	0: tensors.F32, 1: tensors.F16, 2: tensors.I32, 3: tensors.U8, 4: tensors.I64, 6: tensors.BOOL, 7: tensors.I16,
	8: tensors.C64, 9: tensors.I8, 10: tensors.F64, 11: tensors.C128, 12: tensors.U64, 15: tensors.U32, 16: tensors.U16,
	17: tensors.I4, 18: tensors.BF16, 20: tensors.U4, 21: tensors.F8E4M3, 22: tensors.F8E5M2,
}
