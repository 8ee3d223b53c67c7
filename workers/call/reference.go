// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/modelfs/modelfs/workers/inference"
)

// The parameters of an input, or of an output that is asked for, that say where its
// bytes lie. The second three are Triton's.
const (
	pathParameter   = "modelfs_path"
	pathOffset      = "modelfs_offset"
	pathBytes       = "modelfs_byte_size"
	regionParameter = "shared_memory_region"
	regionOffset    = "shared_memory_offset"
	regionBytes     = "shared_memory_byte_size"
)

// maxPath is Linux's longest path.
const maxPath = 4096

// reference is the place that a tensor's parameters name; nil if they name none. Whether
// it is one that the caller may use is for others to find out.
func reference(from map[string]*inference.InferParameter) (*Ref, error) {
	if len(from) == 0 {
		return nil, nil
	}
	byPath := from[pathParameter] != nil || from[pathOffset] != nil || from[pathBytes] != nil
	byRegion := from[regionParameter] != nil || from[regionOffset] != nil || from[regionBytes] != nil
	switch {
	case byPath && byRegion:
		return nil, errors.New("it has modelfs_ and shared_memory_ parameters: one of the two")
	case byPath:
		path, err := place(from, pathParameter, maxPath)
		if err != nil {
			return nil, err
		}
		return extent(Ref{Path: path}, from, pathOffset, pathBytes)
	case byRegion:
		region, err := place(from, regionParameter, MaxName)
		if err != nil {
			return nil, err
		}
		if from[regionBytes] == nil {
			return nil, fmt.Errorf("%s without %s", regionParameter, regionBytes)
		}
		return extent(Ref{Region: region}, from, regionOffset, regionBytes)
	}
	return nil, nil
}

// place is the value of the parameter that names one.
func place(from map[string]*inference.InferParameter, name string, most int) (string, error) {
	p := from[name]
	if p == nil {
		return "", fmt.Errorf("%s is missing", name)
	}
	text, ok := p.GetParameterChoice().(*inference.InferParameter_StringParam)
	switch {
	case !ok:
		return "", fmt.Errorf("%s is %s, expected a string", name, typeName(p))
	case text.StringParam == "":
		return "", fmt.Errorf("%s is empty", name)
	case len(text.StringParam) > most:
		return "", fmt.Errorf("%s has %d bytes, at most %d are taken", name, len(text.StringParam), most)
	case strings.IndexByte(text.StringParam, 0) >= 0:
		return "", fmt.Errorf("%s has a NUL", name)
	}
	return text.StringParam, nil
}

// extent is a place with what the parameters say of offset and size.
func extent(f Ref, from map[string]*inference.InferParameter, offset, bytes string) (*Ref, error) {
	f.Bytes = -1
	if err := number(from, offset, &f.Offset); err != nil {
		return nil, err
	}
	if err := number(from, bytes, &f.Bytes); err != nil {
		return nil, err
	}
	if f.Bytes > math.MaxInt64-f.Offset {
		return nil, fmt.Errorf("%s %d and %s %d are more than 64 bits can count", offset, f.Offset, bytes, f.Bytes)
	}
	return &f, nil
}

// number sets what a parameter says, if it is there.
func number(from map[string]*inference.InferParameter, name string, to *int64) error {
	p := from[name]
	if p == nil {
		return nil
	}
	n, err := unsigned(p)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if n > math.MaxInt64 {
		return fmt.Errorf("%s: %d is more than an int64 holds", name, n)
	}
	*to = int64(n)
	return nil
}
