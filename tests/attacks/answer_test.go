// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks_test

import (
	"errors"
	"testing"

	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tests/attacks"
)

// TestAnswer is the control of TestAttacks: wrong answers are found out.
func TestAnswer(t *testing.T) {
	wrong := &loaders.FormatError{Format: "F", Msg: "it calls posix.system"}
	index := func(finding string, names ...string) *tensors.Index {
		ix := &tensors.Index{}
		for _, name := range names {
			ix.Tensors = append(ix.Tensors, tensors.Tensor{Name: name})
		}
		if finding != "" {
			ix.Findings = []tensors.Finding{{Text: finding}}
		}
		return ix
	}
	for _, c := range []struct {
		want  attacks.Want
		err   error
		index *tensors.Index
		right bool
	}{
		{attacks.Want{Answer: attacks.Refused}, wrong, nil, true},
		{attacks.Want{Answer: attacks.Refused, Says: "System"}, wrong, nil, true},
		{attacks.Want{Answer: attacks.Refused, Says: "eval"}, wrong, nil, false},
		{attacks.Want{Answer: attacks.Refused}, nil, index("", "w"), false},
		{attacks.Want{Answer: attacks.Refused}, nil, index("x", "w"), false},
		{attacks.Want{Answer: attacks.Refused}, errors.New("input/output error"), nil, false},
		{attacks.Want{Answer: attacks.Safe}, errors.New("input/output error"), nil, false},
		{attacks.Want{Answer: attacks.Refused}, loaders.ErrUnsupported, nil, true},
		{attacks.Want{Answer: attacks.Found, Says: "system", Tensors: []string{"w"}}, nil, index("posix.system", "w"), true},
		{attacks.Want{Answer: attacks.Found, Says: "system", Tensors: []string{"w"}}, nil, index("posix.system"), false},
		{attacks.Want{Answer: attacks.Found, Says: "system", Tensors: []string{"w"}}, nil, index("other", "w"), false},
		{attacks.Want{Answer: attacks.Found, Says: "system", Tensors: []string{"w"}}, nil, index("", "w"), false},
		{attacks.Want{Answer: attacks.Found, Says: "system", Tensors: []string{"w"}}, wrong, nil, false},
		{attacks.Want{Answer: attacks.Flagged}, wrong, nil, true},
		{attacks.Want{Answer: attacks.Flagged}, nil, index("x", "w"), true},
		{attacks.Want{Answer: attacks.Flagged}, nil, index("", "w"), false},
		{attacks.Want{Answer: attacks.Read, Tensors: []string{"a", "b"}}, nil, index("", "b", "a"), true},
		{attacks.Want{Answer: attacks.Read, Tensors: []string{"a"}}, nil, index("", "b", "a"), false},
		{attacks.Want{Answer: attacks.Read, Tensors: []string{"a"}}, wrong, nil, false},
		{attacks.Want{Answer: attacks.Unmade}, wrong, nil, true},
		{attacks.Want{Answer: attacks.Unmade}, nil, index("", "w"), false},
		{attacks.Want{}, wrong, nil, false},
	} {
		a := &attacks.Attack{Want: c.want}
		if says := answer(t, a, outcome{index: c.index, err: c.err}); (says == "") != c.right {
			t.Errorf("%+v, given %v and %+v: %q", c.want, c.err, c.index, says)
		}
	}
}

// TestLies: tensors that lie outside the file are found out, and paths that lead
// elsewhere.
func TestLies(t *testing.T) {
	a := &attacks.Attack{File: "m.pt", Content: attacks.Content{Size: 100}}
	for _, c := range []struct {
		tensor tensors.Tensor
		right  bool
	}{
		{tensors.Tensor{Shape: []int64{10}, NBytes: 40, Offset: 60}, true},
		{tensors.Tensor{Shape: []int64{10}, NBytes: 40, Offset: 61}, false},
		{tensors.Tensor{Shape: []int64{10}, NBytes: 40, Offset: -1}, false},
		{tensors.Tensor{Shape: []int64{10}, NBytes: 41}, false},
		{tensors.Tensor{Shape: []int64{10}, Strides: []int64{2}, NBytes: 40, Offset: 24}, true},
		{tensors.Tensor{Shape: []int64{10}, Strides: []int64{2}, NBytes: 40, Offset: 28}, false},
		{tensors.Tensor{Shape: []int64{10}, Strides: []int64{-1}, NBytes: 40}, false},
		{tensors.Tensor{Shape: []int64{10}, Strides: []int64{1, 1}, NBytes: 40}, false},
		{tensors.Tensor{Shape: []int64{10}, NBytes: 40, File: "other.bin"}, false},
	} {
		c.tensor.DType = tensors.F32
		if c.tensor.File == "" {
			c.tensor.File = a.File
		}
		if err := lies(a, &c.tensor); (err == nil) != c.right {
			t.Errorf("%+v: %v", c.tensor, err)
		}
	}
	for p, right := range map[string]bool{
		"a/b": true, "%2E%2E/etc": true, "../etc": false, "a/../b": false, "/etc": false, "a//b": false, "a\x00": false, "\xff": false, "": false, ".": false,
	} {
		if plain(p) != right {
			t.Errorf("%q is plain: %v", p, !right)
		}
	}
	for file, right := range map[string]bool{"data/w": true, "../w": false, "/w": false, `a\..\w`: false, "w\x00": false} {
		x := tensors.Tensor{DType: tensors.F32, Shape: []int64{4}, NBytes: 16, File: file}
		if err := lies(&attacks.Attack{File: "m.onnx"}, &x); (err == nil) != right {
			t.Errorf("data in %q: %v", file, err)
		}
	}
}
