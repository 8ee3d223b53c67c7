// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"errors"
	"fmt"
	"math"

	"github.com/modelfs/modelfs/tensors"
)

// ErrUnsupported says that there is no conversion between two types.
var ErrUnsupported = errors.New("there is no such conversion")

// Func converts the elements of src, whole ones or whole blocks, and fills dst,
// which must be exactly as long as they become: other lengths are the caller's
// mistake, and it panics. dst and src must not overlap. A Func is immutable and
// safe for concurrent use.
type Func func(dst, src []byte)

// Targets lists the types that there are conversions to.
func Targets() []tensors.DType {
	return []tensors.DType{tensors.F32, tensors.F16, tensors.BF16}
}

// Sources lists the types that there are conversions from, to each of Targets, in
// the order of the constants.
func Sources() []tensors.DType {
	var all []tensors.DType
	for _, d := range tensors.DTypes() {
		if _, ok := From(d, tensors.F32); ok {
			all = append(all, d)
		}
	}
	return all
}

// From returns the conversion from one type to another; false if there is none. From
// a type to itself it copies.
func From(src, dst tensors.DType) (Func, bool) {
	f := direct(src, dst)
	if f == nil {
		wide, narrow := direct(src, tensors.F32), direct(tensors.F32, dst)
		if wide == nil || narrow == nil {
			return nil, false
		}
		f = through(src, wide, narrow)
	}
	return checked(src, dst, f), true
}

// direct is a conversion in one step, or nil.
func direct(src, dst tensors.DType) Func {
	switch dst {
	case tensors.F32:
		return toF32(src)
	case tensors.F16:
		switch src {
		case tensors.F16:
			return same
		case tensors.BF16:
			return bf16ToF16
		case tensors.F32:
			return f32ToF16
		}
		if value := byteValue(src); value != nil {
			return bytes16(value, halfOf)
		}
	case tensors.BF16:
		switch src {
		case tensors.BF16:
			return same
		case tensors.F16:
			return f16ToBF16
		case tensors.F32:
			return f32ToBF16
		}
		if value := byteValue(src); value != nil {
			return bytes16(value, brainOf)
		}
	}
	return nil
}

// toF32 is a conversion to F32, or nil.
func toF32(src tensors.DType) Func {
	if value := byteValue(src); value != nil {
		return bytes32(value)
	}
	switch src {
	case tensors.F32:
		return same
	case tensors.F16:
		return f16ToF32
	case tensors.BF16:
		return bf16ToF32
	case tensors.F64:
		return f64ToF32
	case tensors.U16:
		return u16ToF32
	case tensors.I16:
		return i16ToF32
	case tensors.U32:
		return u32ToF32
	case tensors.I32:
		return i32ToF32
	case tensors.U64:
		return u64ToF32
	case tensors.I64:
		return i64ToF32
	}
	return dequantise(src)
}

// through converts by way of F32, a piece at a time.
func through(src tensors.DType, wide, narrow Func) Func {
	elements, width := src.Block()
	blocks := max(1, 4096/int(elements)) // 16 KiB of F32, which stay in the cache
	in, out := blocks*int(width), blocks*int(elements)*2
	return func(dst, src []byte) {
		buf := make([]byte, min(2*len(dst), 2*out))
		for len(src) > in {
			wide(buf, src[:in])
			narrow(dst[:out], buf)
			dst, src = dst[out:], src[in:]
		}
		buf = buf[:2*len(dst)]
		wide(buf, src)
		narrow(dst, buf)
	}
}

// checked holds the caller to the lengths, on which the loops rely.
func checked(from, to tensors.DType, f Func) Func {
	elements, in := from.Block()
	_, out := to.Block()
	return func(dst, src []byte) {
		if n := int64(len(src)) / in; int64(len(src)) != n*in || int64(len(dst)) != n*elements*out {
			panic(fmt.Sprintf("convert: %d bytes of %s do not make %d of %s", len(src), from, len(dst), to))
		}
		f(dst, src)
	}
}

func same(dst, src []byte) { copy(dst, src) }

// float is a number from its bits, bits is the inverse. Both keep every NaN.
func float(b uint32) float32 { return math.Float32frombits(b) }
func bits(f float32) uint32  { return math.Float32bits(f) }
