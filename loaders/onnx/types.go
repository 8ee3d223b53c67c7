// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"math"

	"github.com/modelfs/modelfs/tensors"
)

// onnx.proto's numbers of the types that are named here.
const (
	typeFloat  = 1
	typeInt64  = 7
	typeString = 8
)

// The typed fields of a TensorProto that hold numbers.
const (
	floats = iota
	int32s
	int64s
	doubles
	uint64s
	fieldsOfNumbers
)

// typedFields are their names, numbers, and the wire type of one number.
var typedFields = [fieldsOfNumbers]struct {
	name   string
	number uint64
	wire   byte
}{
	floats:  {"float_data", 4, wireI32},
	int32s:  {"int32_data", 5, wireVarint},
	int64s:  {"int64_data", 7, wireVarint},
	doubles: {"double_data", 10, wireI64},
	uint64s: {"uint64_data", 11, wireVarint},
}

// dataType is one of onnx.proto's TensorProto.DataType.
type dataType struct {
	dtype    tensors.DType
	typed    int   // its typed field
	width    int64 // the bytes of the tensor that one number makes
	min, max int64 // of a number, where width is less than the field has
}

// typeOf is the type of a number, if it has bytes.
func typeOf(number int32) (dataType, bool) {
	if number < 0 || int(number) >= len(dataTypes) {
		return dataType{}, false
	}
	d := dataTypes[number]
	return d, d.dtype != 0
}

// dataTypes are the types that have bytes, by their number. Floats below 32 bits
// are in int32_data by their bits, 4-bit types two in a number.
var dataTypes = [...]dataType{
	1:  {tensors.F32, floats, 4, 0, 0},
	2:  {tensors.U8, int32s, 1, 0, math.MaxUint8},
	3:  {tensors.I8, int32s, 1, math.MinInt8, math.MaxInt8},
	4:  {tensors.U16, int32s, 2, 0, math.MaxUint16},
	5:  {tensors.I16, int32s, 2, math.MinInt16, math.MaxInt16},
	6:  {tensors.I32, int32s, 4, math.MinInt32, math.MaxInt32},
	7:  {tensors.I64, int64s, 8, math.MinInt64, math.MaxInt64},
	9:  {tensors.BOOL, int32s, 1, 0, 1},
	10: {tensors.F16, int32s, 2, 0, math.MaxUint16},
	11: {tensors.F64, doubles, 8, 0, 0},
	12: {tensors.U32, uint64s, 4, 0, math.MaxUint32},
	13: {tensors.U64, uint64s, 8, math.MinInt64, math.MaxInt64},
	14: {tensors.C64, floats, 4, 0, 0},
	15: {tensors.C128, doubles, 8, 0, 0},
	16: {tensors.BF16, int32s, 2, 0, math.MaxUint16},
	17: {tensors.F8E4M3, int32s, 1, 0, math.MaxUint8},
	18: {tensors.F8E4M3FNUZ, int32s, 1, 0, math.MaxUint8},
	19: {tensors.F8E5M2, int32s, 1, 0, math.MaxUint8},
	20: {tensors.F8E5M2FNUZ, int32s, 1, 0, math.MaxUint8},
	21: {tensors.U4, int32s, 1, 0, math.MaxUint8},
	22: {tensors.I4, int32s, 1, 0, math.MaxUint8},
	23: {tensors.F4, int32s, 1, 0, math.MaxUint8},
	24: {tensors.F8E8M0, int32s, 1, 0, math.MaxUint8},
	27: {tensors.F6E2M3, int32s, 0, 0, 0}, // one in a number, four in three bytes: not made
	28: {tensors.F6E3M2, int32s, 0, 0, 0},
}
