// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// The records' types, and what else doc.go says of them.
const (
	typeHello uint16 = iota + 1
	typeFiles
	typeForget
	typeInfer
	typeCancel
	typeResult
	typeFail
	typeRoom
	typeRegion
	typeStop
	typeLog
)

const (
	maxRecord  = 64 << 10
	headerSize = 16
	fileSize   = 24
	inferSize  = 64
	tensorSize = 32
	maxRank    = 16
	maxName    = 1000
	maxFiles   = 16
	maxCode    = 16 // gRPC's
	flagLast   = 1  // of RESULT
	flagNobody = 1  // of REGION
	flagNoRoom = 2  // of REGION

	// gRPC's codes of errors that are found here.
	invalidCode, exhaustedCode, internalCode = 3, 8, 13
)

var little = binary.LittleEndian

// record is one of the channel; its body borrows the buffer that it was read into.
type record struct {
	kind, flags uint16
	count       uint32
	id          uint64
	body        []byte
}

// parseRecord takes what a handler sent apart, and refuses what only a server sends.
func parseRecord(b []byte) (record, error) {
	if len(b) < headerSize || len(b) > maxRecord {
		return record{}, fmt.Errorf("a record of %d bytes", len(b))
	}
	r := record{
		kind: little.Uint16(b), flags: little.Uint16(b[2:]), count: little.Uint32(b[4:]),
		id: little.Uint64(b[8:]), body: b[headerSize:],
	}
	switch {
	case r.kind == typeHello && r.flags == 0 && r.count == 0 && r.id == 0:
	case r.kind == typeResult && r.flags&^flagLast == 0 && int(r.count) <= len(r.body)/tensorSize:
	case r.kind == typeFail && r.flags == 0 && r.count >= 1 && r.count <= maxCode:
	case r.kind == typeRoom && r.flags == 0 && r.count == 0 && len(r.body) == 8 && little.Uint64(r.body) <= math.MaxInt64:
	case r.kind == typeLog && r.flags == 0 && r.count <= 3 && r.id == 0:
	default:
		return record{}, fmt.Errorf("a record of type %d with flags %d, count %d and %d bytes", r.kind, r.flags, r.count, len(b))
	}
	return r, nil
}

// appendHeader begins a record.
func appendHeader(b []byte, kind, flags uint16, count uint32, id uint64) []byte {
	b = little.AppendUint16(b, kind)
	b = little.AppendUint16(b, flags)
	b = little.AppendUint32(b, count)
	return little.AppendUint64(b, id)
}

func appendPlace(b []byte, p Place) []byte {
	var key uint64
	if p.File != nil {
		key = p.File.Key
	}
	b = little.AppendUint64(b, key)
	b = little.AppendUint64(b, uint64(p.Offset))
	return little.AppendUint64(b, uint64(p.Bytes))
}

func appendFile(b []byte, f *File) []byte {
	b = little.AppendUint64(b, f.Key)
	b = little.AppendUint64(b, uint64(f.Size))
	var writable uint32
	if f.Writable {
		writable = 1
	}
	b = little.AppendUint32(b, writable)
	return little.AppendUint32(b, 0)
}

// appendRegion is the answer to ROOM.
func appendRegion(b []byte, id uint64, flags uint16, p Place) []byte {
	return appendPlace(appendHeader(b, typeRegion, flags, 0, id), p)
}

// appendInfer is a call. It fails with a CallError for what no record can hold.
func appendInfer(b []byte, id uint64, req *Request, now time.Time) ([]byte, error) {
	b = appendHeader(b, typeInfer, 0, 0, id)
	b = appendPlace(b, req.First)
	var parameters []byte
	if len(req.Parameters) > 0 {
		var err error
		if parameters, err = json.Marshal(req.Parameters); err != nil {
			return nil, &CallError{invalidCode, fmt.Sprintf("parameters: %v", err)}
		}
	}
	if len(req.Inputs) > math.MaxUint16 || len(req.Outputs) > math.MaxUint16 || req.Rows < 0 || req.Rows > math.MaxInt32 {
		return nil, &CallError{invalidCode, fmt.Sprintf("%d inputs, %d outputs and %d rows are too many", len(req.Inputs), len(req.Outputs), req.Rows)}
	}
	b = little.AppendUint16(b, uint16(len(req.Inputs)))
	b = little.AppendUint16(b, uint16(len(req.Outputs)))
	b = little.AppendUint32(b, uint32(req.Rows))
	var left int64
	if !req.Deadline.IsZero() {
		left = max(int64(req.Deadline.Sub(now)), 1)
	}
	b = little.AppendUint64(b, uint64(left))
	b = little.AppendUint32(b, uint32(len(parameters)))
	b = little.AppendUint32(b, 0)
	for _, list := range [2][]Tensor{req.Inputs, req.Outputs} {
		for i := range list {
			var err error
			if b, err = appendTensor(b, &list[i]); err != nil {
				return nil, err
			}
			if len(b) > maxRecord {
				return nil, &CallError{invalidCode, "the names and shapes of the call's tensors take more than 64 KiB"}
			}
		}
	}
	if len(b)+len(parameters) > maxRecord {
		return nil, &CallError{invalidCode, "the call's parameters, and the names and shapes of its tensors, take more than 64 KiB"}
	}
	return append(b, parameters...), nil
}

func appendTensor(b []byte, t *Tensor) ([]byte, error) {
	if len(t.Shape) > maxRank || len(t.Name) > maxName {
		return nil, &CallError{invalidCode, fmt.Sprintf("tensor %.40q has %d dimensions and a name of %d bytes, at most %d and %d are possible", t.Name, len(t.Shape), len(t.Name), maxRank, maxName)}
	}
	b = appendPlace(b, t.Place)
	b = append(b, byte(t.Datatype), byte(len(t.Shape)))
	b = little.AppendUint16(b, uint16(len(t.Name)))
	b = little.AppendUint32(b, 0)
	for _, n := range t.Shape {
		b = little.AppendUint64(b, uint64(n))
	}
	b = append(b, t.Name...)
	for range -len(t.Name) & 7 {
		b = append(b, 0)
	}
	return b, nil
}
