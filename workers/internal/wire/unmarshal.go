// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modelfs/modelfs/workers/inference"
)

// Field numbers of the messages whose raw contents are taken out.
const (
	rawInputContents  = 7
	rawOutputContents = 6
	errorMessage      = 1
	inferResponse     = 2
)

// errGroup says that a message has a group, which no message of the protocol has.
// Where it ends only a parser knows: the message goes the usual way.
var errGroup = errors.New("a group")

// Unmarshal replaces the request by what was received, keeping references to data.
func (r *InferRequest) Unmarshal(data mem.BufferSlice) error {
	m := &inference.ModelInferRequest{}
	s := scanner{cursor: newCursor(data), field: rawInputContents}
	err := s.message(s.left, m)
	if errors.Is(err, errGroup) {
		if err = s.whole(data, m); err == nil {
			s.raw, err = copied(m.RawInputContents)
			m.RawInputContents = nil
		}
	}
	if err != nil {
		free(&s.raw)
		return err
	}
	r.Message, r.Raw, r.sent = m, s.raw, false
	return nil
}

// Unmarshal replaces the response by what was received, keeping references to data.
func (r *InferResponse) Unmarshal(data mem.BufferSlice) error {
	m := &inference.ModelInferResponse{}
	s := scanner{cursor: newCursor(data), field: rawOutputContents}
	err := s.message(s.left, m)
	if errors.Is(err, errGroup) {
		if err = s.whole(data, m); err == nil {
			s.raw, err = copied(m.RawOutputContents)
			m.RawOutputContents = nil
		}
	}
	if err != nil {
		free(&s.raw)
		return err
	}
	r.Message, r.Raw, r.sent = m, s.raw, false
	return nil
}

// Unmarshal replaces the response by what was received, keeping references to data.
func (r *StreamResponse) Unmarshal(data mem.BufferSlice) error {
	m, inner := &inference.ModelStreamInferResponse{}, &inference.ModelInferResponse{}
	s := scanner{cursor: newCursor(data), field: rawOutputContents}
	there, err := s.stream(m, inner)
	if errors.Is(err, errGroup) {
		if err = s.whole(data, m); err == nil && m.InferResponse != nil {
			there, inner = true, m.InferResponse
			s.raw, err = copied(inner.RawOutputContents)
			inner.RawOutputContents = nil
		}
	}
	if err != nil {
		free(&s.raw)
		return err
	}
	r.ErrorMessage, r.Response = m.ErrorMessage, nil
	if there {
		r.Response = &InferResponse{Message: inner, Raw: s.raw}
	}
	return nil
}

// scanner takes the raw entries out of a message.
type scanner struct {
	*cursor
	field protowire.Number // of the raw entries
	raw   []Raw
	rest  [][]byte // what else the message has
}

// message reads a message of n bytes: the raw entries are added to s.raw, the rest is
// unmarshalled into m.
func (s *scanner) message(n int, m proto.Message) error {
	s.rest = s.rest[:0]
	if err := s.fields(n); err != nil {
		return err
	}
	return unmarshalPieces(s.rest, m)
}

// fields adds the fields of the next n bytes to s.raw and s.rest.
func (s *scanner) fields(n int) error {
	outside := s.left - n
	s.left = n
	run := s.place
	for s.left > 0 {
		start := s.place
		number, kind, err := s.tag()
		if err != nil {
			return err
		}
		if number != s.field || kind != protowire.BytesType {
			if err := s.value(kind); err != nil {
				return err
			}
			continue
		}
		s.rest = s.between(s.rest, run, start)
		size, err := s.length()
		if err != nil {
			return err
		}
		if len(s.raw) == MaxRaw {
			return ErrTooMany
		}
		s.raw = append(s.raw, s.take(size))
		run = s.place
	}
	s.rest = s.between(s.rest, run, s.place)
	s.left = outside
	return nil
}

// value passes over the value of a field.
func (s *scanner) value(kind protowire.Type) error {
	switch kind {
	case protowire.VarintType:
		_, err := s.varint()
		return err
	case protowire.Fixed32Type:
		return s.skip(4)
	case protowire.Fixed64Type:
		return s.skip(8)
	case protowire.BytesType:
		n, err := s.length()
		if err != nil {
			return err
		}
		return s.skip(n)
	case protowire.StartGroupType:
		return errGroup
	default: // the end of a group that has not begun, or no type
		return ErrMalformed
	}
}

// stream reads a ModelStreamInferResponse: what is beside the response into m, the
// response into inner. Several are merged, which is to read them as one.
func (s *scanner) stream(m, inner proto.Message) (there bool, err error) {
	var beside [][]byte
	run := s.place
	for s.left > 0 {
		start := s.place
		number, kind, err := s.tag()
		if err != nil {
			return false, err
		}
		if number != inferResponse || kind != protowire.BytesType {
			if err := s.value(kind); err != nil {
				return false, err
			}
			continue
		}
		beside = s.between(beside, run, start)
		size, err := s.length()
		if err != nil {
			return false, err
		}
		if err := s.fields(size); err != nil {
			return false, err
		}
		there, run = true, s.place
	}
	beside = s.between(beside, run, s.place)
	if err := unmarshalPieces(beside, m); err != nil {
		return false, err
	}
	return there, unmarshalPieces(s.rest, inner)
}

// whole unmarshals all of a message the usual way.
func (s *scanner) whole(data mem.BufferSlice, m proto.Message) error {
	free(&s.raw)
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return proto.Unmarshal(b.ReadOnlyData(), m)
}

func copied(entries [][]byte) ([]Raw, error) {
	if len(entries) > MaxRaw {
		return nil, ErrTooMany
	}
	var out []Raw
	for _, b := range entries {
		out = append(out, Raw{mem.SliceBuffer(b)})
	}
	return out, nil
}

// unmarshalPieces unmarshals a message that lies in pieces. Nothing of m refers to them.
func unmarshalPieces(pieces [][]byte, m proto.Message) error {
	switch len(pieces) {
	case 0:
		return nil
	case 1:
		return proto.Unmarshal(pieces[0], m)
	}
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	pool := mem.DefaultBufferPool()
	b := pool.Get(n)
	defer pool.Put(b)
	joined := (*b)[:0]
	for _, p := range pieces {
		joined = append(joined, p...)
	}
	return proto.Unmarshal(joined, m)
}
