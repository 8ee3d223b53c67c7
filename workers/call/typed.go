// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/modelfs/modelfs/workers/inference"
)

// noContents says whether no typed field has an element.
func noContents(c *inference.InferTensorContents) bool {
	if c == nil {
		return true
	}
	for _, f := range fieldsOf(c) {
		if f.count > 0 {
			return false
		}
	}
	return true
}

// field is one of the typed fields of contents.
type field struct {
	name  string
	count int
}

// fieldsOf are all of them, in the order of their numbers.
func fieldsOf(c *inference.InferTensorContents) [8]field {
	return [8]field{
		{"bool_contents", len(c.GetBoolContents())},
		{"int_contents", len(c.GetIntContents())},
		{"int64_contents", len(c.GetInt64Contents())},
		{"uint_contents", len(c.GetUintContents())},
		{"uint64_contents", len(c.GetUint64Contents())},
		{"fp32_contents", len(c.GetFp32Contents())},
		{"fp64_contents", len(c.GetFp64Contents())},
		{"bytes_contents", len(c.GetBytesContents())},
	}
}

// fieldFor is the name of the field for a datatype; "" for those that come raw only.
func fieldFor(d Datatype) string {
	switch d {
	case BOOL:
		return "bool_contents"
	case INT8, INT16, INT32:
		return "int_contents"
	case INT64:
		return "int64_contents"
	case UINT8, UINT16, UINT32:
		return "uint_contents"
	case UINT64:
		return "uint64_contents"
	case FP32:
		return "fp32_contents"
	case FP64:
		return "fp64_contents"
	case BYTES:
		return "bytes_contents"
	}
	return ""
}

// typed makes raw bytes of the elements in the datatype's field.
func (in *Input) typed(c *inference.InferTensorContents) error {
	want, _ := Elements(in.Shape)
	own := fieldFor(in.Datatype)
	have := 0
	for _, f := range fieldsOf(c) {
		switch {
		case f.name == own:
			have = f.count
		case f.count > 0 && own == "":
			return in.wrong("%d elements in %s: %v comes in raw_input_contents only", f.count, f.name, in.Datatype)
		case f.count > 0:
			return in.wrong("%d elements in %s, expected those of %v in %s", f.count, f.name, in.Datatype, own)
		}
	}
	if own == "" && want > 0 {
		return in.wrong("it has no contents: %v comes in raw_input_contents", in.Datatype)
	}
	if int64(have) != want {
		return in.wrong("%d elements in %s, expected %d for shape %s of %v", have, own, want, shapeText(in.Shape), in.Datatype)
	}
	bytes, err := in.encode(c)
	if err != nil {
		return in.wrong("%v", err)
	}
	in.Raw, in.Bytes = [][]byte{bytes}, int64(len(bytes))
	return nil
}

// encode writes the elements, of which there are as many as there should be.
func (in *Input) encode(c *inference.InferTensorContents) ([]byte, error) {
	le := binary.LittleEndian
	if in.Datatype == BYTES {
		return lengthPrefixed(c.GetBytesContents())
	}
	to := make([]byte, 0, in.Bytes)
	switch in.Datatype {
	case BOOL:
		for _, v := range c.GetBoolContents() {
			b := byte(0)
			if v {
				b = 1
			}
			to = append(to, b)
		}
	case INT8, INT16, INT32:
		return appendInts(to, in.Datatype, c.GetIntContents())
	case UINT8, UINT16, UINT32:
		return appendUints(to, in.Datatype, c.GetUintContents())
	case INT64:
		for _, v := range c.GetInt64Contents() {
			to = le.AppendUint64(to, uint64(v))
		}
	case UINT64:
		for _, v := range c.GetUint64Contents() {
			to = le.AppendUint64(to, v)
		}
	case FP32:
		for _, v := range c.GetFp32Contents() {
			to = le.AppendUint32(to, math.Float32bits(v))
		}
	case FP64:
		for _, v := range c.GetFp64Contents() {
			to = le.AppendUint64(to, math.Float64bits(v))
		}
	}
	return to, nil
}

func appendInts(to []byte, d Datatype, values []int32) ([]byte, error) {
	most := int64(1)<<(8*d.Size()-1) - 1
	for i, v := range values {
		if int64(v) > most || int64(v) < -most-1 {
			return nil, fmt.Errorf("element %d is %d, %v is from %d to %d", i, v, d, -most-1, most)
		}
		to = appendSized(to, d.Size(), uint32(v))
	}
	return to, nil
}

func appendUints(to []byte, d Datatype, values []uint32) ([]byte, error) {
	most := uint64(1)<<(8*d.Size()) - 1
	for i, v := range values {
		if uint64(v) > most {
			return nil, fmt.Errorf("element %d is %d, %v is from 0 to %d", i, v, d, most)
		}
		to = appendSized(to, d.Size(), v)
	}
	return to, nil
}

// appendSized writes the low bytes of a number.
func appendSized(to []byte, size int, v uint32) []byte {
	switch size {
	case 1:
		return append(to, byte(v))
	case 2:
		return binary.LittleEndian.AppendUint16(to, uint16(v))
	}
	return binary.LittleEndian.AppendUint32(to, v)
}

// lengthPrefixed writes elements of BYTES as raw contents have them.
func lengthPrefixed(elements [][]byte) ([]byte, error) {
	size := 0
	for i, e := range elements {
		if uint64(len(e)) > math.MaxUint32 {
			return nil, fmt.Errorf("element %d has %d bytes, at most %d are taken", i, len(e), uint32(math.MaxUint32))
		}
		size += 4 + len(e)
	}
	to := make([]byte, 0, size)
	for _, e := range elements {
		to = append(binary.LittleEndian.AppendUint32(to, uint32(len(e))), e...)
	}
	return to, nil
}
