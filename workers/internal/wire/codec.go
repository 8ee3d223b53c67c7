// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec returns the codec: for this package's messages it does not copy tensors, for
// all others it is gRPC's own.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name)} }

type codec struct{ encoding.CodecV2 }

// message is what this package's messages can do.
type message interface {
	Marshal() (mem.BufferSlice, error)
	Unmarshal(mem.BufferSlice) error
}

var (
	_ message = (*InferRequest)(nil)
	_ message = (*InferResponse)(nil)
	_ message = (*StreamResponse)(nil)
)

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(message); ok {
		return m.Marshal()
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(message); ok {
		return m.Unmarshal(data)
	}
	return c.CodecV2.Unmarshal(data, v)
}
