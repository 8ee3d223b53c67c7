// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Kind is equal for requests that can be joined along the first dimension: the same
// inputs in the same order, of the same datatypes and trailing shapes, with the same
// parameters. It is "" for a request that can be joined with none: without inputs, with
// one by reference, of BYTES or without dimensions, or with inputs whose first dimensions
// differ or are 0.
//
// Outputs that are asked for are not in it: whoever joins requests asks the model for
// all that any of them wants, and gives each what it wanted.
func Kind(r *Request) string {
	if sharedRows(r) == 0 {
		return ""
	}
	var buffer [256]byte
	b := buffer[:0]
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if in.Ref != nil || in.Datatype == BYTES {
			return ""
		}
		b = strconv.AppendInt(b, int64(len(in.Name)), 10) // no name can look like the rest
		b = append(b, ':')
		b = append(b, in.Name...)
		b = append(b, ' ')
		b = append(b, in.Datatype.String()...)
		b = append(appendShape(b, in.Shape[1:]), ' ')
	}
	kind := string(b)
	if len(r.Parameters) > 0 {
		kind += parametersText(r.Parameters)
	}
	return kind
}

// parametersText is equal for equal parameters.
func parametersText(parameters map[string]any) string {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		b = fmt.Appendf(b, "%q=%T%q ", name, parameters[name], fmt.Sprint(parameters[name]))
	}
	return string(b)
}

// Rows is how many rows of a batch a request is: the first dimension that all its
// inputs have, else 1.
func Rows(r *Request) int { return int(max(1, sharedRows(r))) }

// sharedRows is the first dimension of all inputs, 0 if they have none in common.
func sharedRows(r *Request) int64 {
	rows := int64(0)
	for i := range r.Inputs {
		shape := r.Inputs[i].Shape
		if len(shape) == 0 || i > 0 && shape[0] != rows {
			return 0
		}
		rows = shape[0]
	}
	return rows
}
