// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

// Datatype is the type of a tensor's elements, by the protocol's names.
type Datatype uint8

// The datatypes. The numbers are those of the records between server and handler, and
// of Triton's enum DataType.
const (
	BOOL Datatype = iota + 1
	UINT8
	UINT16
	UINT32
	UINT64
	INT8
	INT16
	INT32
	INT64
	FP16
	FP32
	FP64
	BYTES
	BF16
)

var datatypes = [...]struct {
	name string
	size int
}{
	BOOL: {"BOOL", 1}, UINT8: {"UINT8", 1}, UINT16: {"UINT16", 2}, UINT32: {"UINT32", 4}, UINT64: {"UINT64", 8},
	INT8: {"INT8", 1}, INT16: {"INT16", 2}, INT32: {"INT32", 4}, INT64: {"INT64", 8},
	FP16: {"FP16", 2}, FP32: {"FP32", 4}, FP64: {"FP64", 8}, BYTES: {"BYTES", 0}, BF16: {"BF16", 2},
}

// ParseDatatype finds a datatype by its name; false if there is none.
func ParseDatatype(name string) (Datatype, bool) {
	for d := BOOL; d <= BF16; d++ {
		if datatypes[d].name == name {
			return d, true
		}
	}
	return 0, false
}

// Valid says whether it is one of the constants.
func (d Datatype) Valid() bool { return d >= BOOL && d <= BF16 }

// String is the protocol's name.
func (d Datatype) String() string {
	if !d.Valid() {
		return "no datatype"
	}
	return datatypes[d].name
}

// Size is an element's in bytes; 0 for BYTES, whose elements have none.
func (d Datatype) Size() int {
	if !d.Valid() {
		return 0
	}
	return datatypes[d].size
}
