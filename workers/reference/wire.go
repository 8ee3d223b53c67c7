// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Server and helper talk over a SOCK_SEQPACKET socket, one record for each question and
// one for its answer, little-endian:
//
//	question               answer
//	0  u8   kind           0  u32  id
//	1  u8   1: to write    4  u32  errno; 0: the descriptor comes along (SCM_RIGHTS)
//	2  u16  bytes of path
//	4  u32  id
//	8       path
//
// The kind of the first question is 0: its path is the mount, its id after how many
// milliseconds without a question the helper ends. The answer has the id 0. Of other
// questions the kind is a Place's, and the answers come in any order. The kind 255 takes
// a question of that id back, which is answered all the same, as soon as it can be: until
// then, once, with EINPROGRESS.
const (
	questionHead = 8
	answerSize   = 8
	maxQuestion  = questionHead + maxPath
)

const (
	asksRoot  kind = 0
	takesBack kind = 255

	stillOpening = unix.EINPROGRESS
)

type question struct {
	kind  kind
	write bool
	id    uint32
	path  string
}

var errWire = errors.New("malformed record")

func (q question) append(b []byte) []byte {
	write := byte(0)
	if q.write {
		write = 1
	}
	b = append(b, byte(q.kind), write)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(q.path)))
	b = binary.LittleEndian.AppendUint32(b, q.id)
	return append(b, q.path...)
}

// place checks once more what the server has checked: a helper trusts nobody, either.
func (q question) place() (Place, error) {
	switch q.kind {
	case inMount:
		return MountPlace(q.path)
	case inSharedMemory:
		p, err := SharedMemory(q.path)
		if err == nil && p.path != q.path {
			return Place{}, errWire
		}
		return p, err
	}
	return Place{}, errWire
}

func parseQuestion(b []byte) (question, error) {
	if len(b) < questionHead || len(b) > maxQuestion {
		return question{}, fmt.Errorf("%w: a question of %d bytes", errWire, len(b))
	}
	q := question{kind: kind(b[0]), write: b[1] == 1, id: binary.LittleEndian.Uint32(b[4:]), path: string(b[questionHead:])}
	if q.kind > inSharedMemory && q.kind != takesBack || b[1] > 1 || int(binary.LittleEndian.Uint16(b[2:])) != len(q.path) {
		return question{}, fmt.Errorf("%w: a question of kind %d, %d bytes", errWire, b[0], len(b))
	}
	return q, nil
}

func (q question) idle() time.Duration { return time.Duration(q.id) * time.Millisecond }

type answer struct {
	id    uint32
	errno unix.Errno
}

func (a answer) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, a.id)
	return binary.LittleEndian.AppendUint32(b, uint32(a.errno))
}

func parseAnswer(b []byte) (answer, error) {
	if len(b) != answerSize {
		return answer{}, fmt.Errorf("%w: an answer of %d bytes", errWire, len(b))
	}
	a := answer{binary.LittleEndian.Uint32(b), unix.Errno(binary.LittleEndian.Uint32(b[4:]))}
	if a.errno > 4095 { // MAX_ERRNO of the kernel
		return answer{}, fmt.Errorf("%w: errno %d", errWire, uint32(a.errno))
	}
	return a, nil
}
