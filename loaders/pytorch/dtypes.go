// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import "github.com/modelfs/modelfs/tensors"

// dtype is one of torch's types of elements.
type dtype struct {
	name  string
	d     tensors.DType // 0: there is none
	width int64         // bytes of an element
	part  int64         // bytes of what has a byte order: half of a complex element
	kind  kind
}

type kind uint8

const (
	other kind = iota
	float      // with a sign bit that negates, NaN and zero included
	complexKind
)

// dtypes are torch's, by the name after "torch.". Widths are those of
// c10/core/ScalarType.h. float4_e2m1fn_x2 has two numbers in an element, where
// safetensors' F4 counts each: its shapes would not be torch's.
var dtypes = byName([]dtype{
	{"bool", tensors.BOOL, 1, 1, other},
	{"uint8", tensors.U8, 1, 1, other},
	{"int8", tensors.I8, 1, 1, other},
	{"uint16", tensors.U16, 2, 2, other},
	{"int16", tensors.I16, 2, 2, other},
	{"uint32", tensors.U32, 4, 4, other},
	{"int32", tensors.I32, 4, 4, other},
	{"uint64", tensors.U64, 8, 8, other},
	{"int64", tensors.I64, 8, 8, other},
	{"float16", tensors.F16, 2, 2, float},
	{"bfloat16", tensors.BF16, 2, 2, float},
	{"float32", tensors.F32, 4, 4, float},
	{"float64", tensors.F64, 8, 8, float},
	{"complex64", tensors.C64, 8, 4, complexKind},
	{"complex128", tensors.C128, 16, 8, complexKind},
	{"float8_e4m3fn", tensors.F8E4M3, 1, 1, other},
	{"float8_e5m2", tensors.F8E5M2, 1, 1, other},
	{"float8_e8m0fnu", tensors.F8E8M0, 1, 1, other},
	{"float8_e4m3fnuz", tensors.F8E4M3FNUZ, 1, 1, other},
	{"float8_e5m2fnuz", tensors.F8E5M2FNUZ, 1, 1, other},

	{"complex32", 0, 4, 2, other},
	{"bcomplex32", 0, 4, 2, other},
	{"float4_e2m1fn_x2", 0, 1, 1, other},
	{"qint8", 0, 1, 1, other},
	{"quint8", 0, 1, 1, other},
	{"qint32", 0, 4, 4, other},
	{"quint4x2", 0, 1, 1, other},
	{"quint2x4", 0, 1, 1, other},
	{"bits1x8", 0, 1, 1, other},
	{"bits2x4", 0, 1, 1, other},
	{"bits4x2", 0, 1, 1, other},
	{"bits8", 0, 1, 1, other},
	{"bits16", 0, 2, 2, other},
	{"int1", 0, 1, 1, other},
	{"int2", 0, 1, 1, other},
	{"int3", 0, 1, 1, other},
	{"int4", 0, 1, 1, other},
	{"int5", 0, 1, 1, other},
	{"int6", 0, 1, 1, other},
	{"int7", 0, 1, 1, other},
	{"uint1", 0, 1, 1, other},
	{"uint2", 0, 1, 1, other},
	{"uint3", 0, 1, 1, other},
	{"uint4", 0, 1, 1, other},
	{"uint5", 0, 1, 1, other},
	{"uint6", 0, 1, 1, other},
	{"uint7", 0, 1, 1, other},
})

func byName(all []dtype) map[string]*dtype {
	m := make(map[string]*dtype, len(all))
	for i := range all {
		m[all[i].name] = &all[i]
	}
	return m
}

// storages are the classes of storages (torch/storage.py), and the type of elements
// that each has. Untyped ones are bytes.
var storages = map[string]*dtype{
	"DoubleStorage":        dtypes["float64"],
	"FloatStorage":         dtypes["float32"],
	"HalfStorage":          dtypes["float16"],
	"BFloat16Storage":      dtypes["bfloat16"],
	"LongStorage":          dtypes["int64"],
	"IntStorage":           dtypes["int32"],
	"ShortStorage":         dtypes["int16"],
	"CharStorage":          dtypes["int8"],
	"ByteStorage":          dtypes["uint8"],
	"BoolStorage":          dtypes["bool"],
	"ComplexDoubleStorage": dtypes["complex128"],
	"ComplexFloatStorage":  dtypes["complex64"],
	"QInt8Storage":         dtypes["qint8"],
	"QUInt8Storage":        dtypes["quint8"],
	"QInt32Storage":        dtypes["qint32"],
	"QUInt4x2Storage":      dtypes["quint4x2"],
	"QUInt2x4Storage":      dtypes["quint2x4"],
	"UntypedStorage":       dtypes["uint8"],
	"_UntypedStorage":      dtypes["uint8"],
}
