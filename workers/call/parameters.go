// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/modelfs/modelfs/workers/inference"
)

// parameters takes what the server itself understands of a request's parameters, and
// leaves the rest for the model.
func (r *Request) parameters(from map[string]*inference.InferParameter) error {
	if len(from) > MaxParameters {
		return &Error{"parameters", fmt.Sprintf("%d of them, at most %d are taken", len(from), MaxParameters)}
	}
	for name, p := range from {
		err := r.parameter(name, p, len(from))
		if errors.Is(err, ErrSequences) {
			return fmt.Errorf("parameter %.64q: %w", name, err)
		}
		if err != nil {
			return &Error{fmt.Sprintf("parameter %.64q", name), err.Error()}
		}
	}
	return nil
}

func (r *Request) parameter(name string, p *inference.InferParameter, most int) (err error) {
	if reason := nameProblem(name); reason != "" {
		return errors.New("name: " + reason)
	}
	switch {
	case name == "priority":
		r.Priority, err = unsigned(p)
	case name == "timeout":
		var n uint64
		n, err = unsigned(p)
		r.Timeout = time.Duration(min(n, math.MaxInt64/uint64(time.Microsecond))) * time.Microsecond
	case strings.HasPrefix(name, "sequence_"):
		err = ErrSequences
	default:
		if r.Parameters == nil {
			r.Parameters = make(map[string]any, most)
		}
		r.Parameters[name], err = plain(p)
	}
	return err
}

// plain is a parameter's value: bool, int64, uint64, float64 or string.
func plain(p *inference.InferParameter) (any, error) {
	switch v := p.GetParameterChoice().(type) {
	case *inference.InferParameter_BoolParam:
		return v.BoolParam, nil
	case *inference.InferParameter_Int64Param:
		return v.Int64Param, nil
	case *inference.InferParameter_Uint64Param:
		return v.Uint64Param, nil
	case *inference.InferParameter_DoubleParam:
		if math.IsNaN(v.DoubleParam) || math.IsInf(v.DoubleParam, 0) {
			return nil, fmt.Errorf("%v is no number", v.DoubleParam)
		}
		return v.DoubleParam, nil
	case *inference.InferParameter_StringParam:
		return v.StringParam, nil
	}
	return nil, errors.New("it has no value")
}

// unsigned is the value of a parameter that is a number from 0 on, as a uint64 or an
// int64: clients send both.
func unsigned(p *inference.InferParameter) (uint64, error) {
	switch v := p.GetParameterChoice().(type) {
	case *inference.InferParameter_Uint64Param:
		return v.Uint64Param, nil
	case *inference.InferParameter_Int64Param:
		if v.Int64Param < 0 {
			return 0, fmt.Errorf("%d is negative", v.Int64Param)
		}
		return uint64(v.Int64Param), nil
	}
	return 0, fmt.Errorf("it is %s, expected an int64 or a uint64 of 0 or more", typeName(p))
}

// typeName says what a parameter is, for people.
func typeName(p *inference.InferParameter) string {
	switch p.GetParameterChoice().(type) {
	case *inference.InferParameter_BoolParam:
		return "a bool"
	case *inference.InferParameter_Int64Param:
		return "an int64"
	case *inference.InferParameter_Uint64Param:
		return "a uint64"
	case *inference.InferParameter_DoubleParam:
		return "a double"
	case *inference.InferParameter_StringParam:
		return "a string"
	}
	return "no value"
}
