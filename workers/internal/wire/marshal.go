// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// small is up to how many bytes a tensor is copied between its neighbours: less work
// than a buffer of its own.
const small = 2048

// Marshal gives the request to gRPC; Raw is nil then.
func (r *InferRequest) Marshal() (mem.BufferSlice, error) {
	return marshal(r.Message, &r.Raw, &r.sent, nil, rawInputContents)
}

// Marshal gives the response to gRPC; Raw is nil then.
func (r *InferResponse) Marshal() (mem.BufferSlice, error) {
	return marshal(r.Message, &r.Raw, &r.sent, nil, rawOutputContents)
}

// Marshal gives the response to gRPC.
func (r *StreamResponse) Marshal() (mem.BufferSlice, error) {
	var head []byte
	if r.ErrorMessage != "" {
		head = protowire.AppendTag(head, errorMessage, protowire.BytesType)
		head = protowire.AppendString(head, r.ErrorMessage)
	}
	if r.Response == nil {
		return mem.BufferSlice{mem.SliceBuffer(head)}, nil
	}
	size := rawSize(r.Response.Raw, rawOutputContents) + proto.Size(r.Response.Message)
	head = protowire.AppendTag(head, inferResponse, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(size))
	return marshal(r.Response.Message, &r.Response.Raw, &r.Response.sent, head, rawOutputContents)
}

// marshal makes the bytes of a message and its raw entries, behind before. It takes
// the entries, also when it fails.
func marshal(m proto.Message, raw *[]Raw, sent *bool, before []byte, field protowire.Number) (mem.BufferSlice, error) {
	entries := *raw
	*raw = nil
	if *sent {
		free(&entries)
		return nil, ErrSent
	}
	*sent = true
	room := len(before) + proto.Size(m)
	buffers := 1
	for _, r := range entries {
		n := r.Len()
		room += protowire.SizeTag(field) + protowire.SizeBytes(0) + protowire.SizeVarint(uint64(n))
		if n <= small {
			room += n
		} else {
			buffers += len(r) + 1
		}
	}
	text := append(make([]byte, 0, room), before...)
	text, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(text, m)
	if err != nil {
		free(&entries)
		return nil, err
	}
	out := make(mem.BufferSlice, 0, buffers)
	for _, r := range entries {
		n := r.Len()
		text = protowire.AppendTag(text, field, protowire.BytesType)
		text = protowire.AppendVarint(text, uint64(n))
		if n <= small {
			for _, b := range r {
				text = append(text, b.ReadOnlyData()...)
			}
			r.Free()
			continue
		}
		out = append(append(out, mem.SliceBuffer(text)), r...)
		text = text[len(text):]
	}
	if len(text) > 0 || len(out) == 0 {
		out = append(out, mem.SliceBuffer(text))
	}
	return out, nil
}

// rawSize is how many bytes raw entries take in a message.
func rawSize(raw []Raw, field protowire.Number) int {
	n := 0
	for _, r := range raw {
		n += protowire.SizeTag(field) + protowire.SizeBytes(r.Len())
	}
	return n
}
