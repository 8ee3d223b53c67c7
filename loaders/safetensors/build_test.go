// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "model.safetensors"

var (
	parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
		return Parse(fileName, r, size)
	}
	parseShards hostile.Parse[*ShardIndex] = ParseShardIndex
)

// entry is one tensor of a header; the name is JSON already.
func entry(name, dtype, shape string, from, to int) string {
	return `"` + name + fmt.Sprintf(`":{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, dtype, shape, from, to)
}

// framed is a header after its length; nothing is padded.
func framed(header string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
}

// place cuts the mark out of a text and says where it was.
func place(t *testing.T, marked string) (text string, at int64) {
	t.Helper()
	before, after, ok := strings.Cut(marked, "‸")
	if !ok {
		t.Fatalf("%.100q has no mark", marked)
	}
	return before + after, int64(len(before))
}

// check holds for whatever is taken: the tensors cover the data, one after the
// other, have distinct names, and are as large as their shapes say.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	names := make(map[string]bool)
	for i, t := range ix.Tensors {
		if names[t.Name] {
			tb.Errorf("%q is there twice", t.Name)
		}
		names[t.Name] = true
		elements, bytes := t.DType.Block()
		want := big.NewInt(bytes)
		for _, n := range t.Shape {
			want.Mul(want, big.NewInt(n))
		}
		if got := big.NewInt(t.NBytes); want.Cmp(got.Mul(got, big.NewInt(elements))) != 0 {
			tb.Errorf("%q: %s%v in %d bytes", t.Name, t.DType, t.Shape, t.NBytes)
		}
		end := size
		if i+1 < len(ix.Tensors) {
			end = ix.Tensors[i+1].Offset
		}
		if t.Offset < prefix+2 || t.NBytes < 0 || t.Offset+t.NBytes != end {
			tb.Errorf("%q: %d bytes at %d, next is %d", t.Name, t.NBytes, t.Offset, end)
		}
		if t.File != fileName || t.Strides != nil || t.DType > tensors.F4 || t.DType == tensors.C128 {
			tb.Errorf("%+v", t)
		}
	}
}
