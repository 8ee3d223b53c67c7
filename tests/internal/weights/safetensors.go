// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Tensor is one tensor to be written: its data are those of row-major order.
type Tensor struct {
	Name  string
	DType string // as in safetensors or, for GGUF, as GGML calls it
	Shape []int64
	Data  []byte
}

// Bytes is a tensor of n bytes that are the pattern of a seed.
func Bytes(name string, seed uint64, n int) Tensor {
	return Tensor{name, "U8", []int64{int64(n)}, Pattern(seed, n)}
}

// Safetensors is a file of the tensors, their data in the same order.
func Safetensors(ts ...Tensor) []byte {
	var header bytes.Buffer
	header.WriteString(`{"__metadata__":{"format":"pt"}`)
	at := 0
	for _, t := range ts {
		header.WriteString("," + quote(t.Name))
		shape := t.Shape
		if shape == nil {
			shape = []int64{}
		}
		fmt.Fprintf(&header, `:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, t.DType, quote(shape), at, at+len(t.Data))
		at += len(t.Data)
	}
	header.WriteByte('}')
	file := Framed(header.String())
	for _, t := range ts {
		file = append(file, t.Data...)
	}
	return file
}

// Framed is a safetensors header, right or wrong, after its length. It is padded
// to 8 bytes as writers do.
func Framed(header string) []byte {
	for len(header)%8 != 0 {
		header += " "
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
}

// Single is a safetensors file of one tensor "weight" whose whole size is size
// bytes: what is needed where the content does not matter, but can be told apart.
func Single(seed uint64, size int) []byte {
	const head = 128
	data := Pattern(seed, size-head)
	header := fmt.Sprintf(`{"weight":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, len(data), len(data))
	file := make([]byte, head, size)
	binary.LittleEndian.PutUint64(file, head-8)
	copy(file[8:], fmt.Sprintf("%-*s", head-8, header))
	return append(file, data...)
}

// Shards is the list of shards (model.safetensors.index.json) of tensors by file.
func Shards(files map[string][]Tensor) []byte {
	names := map[string]string{}
	for file, ts := range files {
		for _, t := range ts {
			names[t.Name] = file
		}
	}
	return []byte(`{"metadata":{},"weight_map":` + quote(names) + `}`)
}

func quote(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and texts
	}
	return string(b)
}
